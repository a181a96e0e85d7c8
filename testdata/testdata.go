// Package testdata holds messages of our own making: invented patients, in an
// invented hospital. The tests, the demo and the benchmarks read it.
package testdata

import (
	"bufio"
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/liaison-health/liaison/mapping/hl7v2"
)

// files are adt.hl7, scheduling.hl7, lab.hl7, billing.hl7, portal-bundle.json
// and order.txt.
//
//go:embed day
var files embed.FS

// A Message is one message of the day.
type Message struct {
	Time  string // when it is sent, local time 15:04:05
	File  string // adt.hl7, scheduling.hl7, lab.hl7, billing.hl7, or portal-bundle.json
	Index int    // position in the file, from 0
	Type  string // ADT^A01, or Bundle
	Note  string // what is special about it, or ""
	Raw   []byte
}

// Files gives the files of the day as they are committed.
func Files() (fs.FS, error) { return fs.Sub(files, "day") }

// Day gives a hospital's day, 10 March 2026 in America/New_York, in the order in
// which it is sent: several hundred HL7 v2 messages of four sources and a FHIR
// transaction Bundle. Among them are resent messages, a poison message that
// cannot be decoded, and messages that come too late.
func Day() ([]Message, error) {
	order, err := files.ReadFile("day/order.txt")
	if err != nil {
		return nil, fmt.Errorf("read the day: %w", err)
	}
	contents := map[string][][]byte{}
	var day []Message
	lines := bufio.NewScanner(bytes.NewReader(order))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		parts := strings.SplitN(line, " ", 5)
		if len(parts) < 4 {
			return nil, fmt.Errorf("order.txt: %q is no line of it", line)
		}
		m := Message{Time: parts[0], File: parts[1], Type: parts[3]}
		if len(parts) == 5 {
			m.Note = parts[4]
		}
		if m.Index, err = strconv.Atoi(parts[2]); err != nil {
			return nil, fmt.Errorf("order.txt: %w", err)
		}
		if contents[m.File] == nil {
			if contents[m.File], err = read(m.File); err != nil {
				return nil, err
			}
		}
		if m.Index < 0 || m.Index >= len(contents[m.File]) {
			return nil, fmt.Errorf("order.txt: %s has no message %d", m.File, m.Index)
		}
		m.Raw = contents[m.File][m.Index]
		day = append(day, m)
	}
	return day, lines.Err()
}

// read splits a file into its messages; JSON is one.
func read(name string) ([][]byte, error) {
	data, err := files.ReadFile("day/" + name)
	if err != nil {
		return nil, fmt.Errorf("read the day: %w", err)
	}
	if strings.HasSuffix(name, ".json") {
		return [][]byte{data}, nil
	}
	var messages [][]byte
	for splitter := hl7v2.NewSplitter(bytes.NewReader(data)); ; {
		item, err := splitter.Next()
		if errors.Is(err, io.EOF) {
			return messages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		messages = append(messages, item.Raw)
	}
}
