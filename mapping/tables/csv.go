package tables

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
)

// csv reads an overlay of code tables: a line of headings, then a row a code.
// Between the cells are commas, or semicolons, as spreadsheets write them where
// the comma is the decimal mark.
func (l *loader) csv(f Overlay) {
	data := bytes.TrimPrefix(f.Data, []byte("\ufeff"))
	rows := csv.NewReader(bytes.NewReader(data))
	if line, _, _ := bytes.Cut(data, []byte("\n")); bytes.ContainsRune(line, ';') && !bytes.ContainsRune(line, ',') {
		rows.Comma = ';'
	}
	rows.FieldsPerRecord, rows.TrimLeadingSpace, rows.Comment = -1, true, '#'
	head, err := rows.Read()
	at := map[string]int{}
	for i, name := range head {
		at[strings.ToLower(strings.TrimSpace(name))] = i
	}
	for _, name := range []string{"table", "code", "to"} {
		if _, ok := at[name]; !ok || err != nil {
			l.fail(f.Name, 1, strings.Join(head, ","), "the first line names the columns: table, code, to, and if wanted system and display; %s is not there", name)
			return
		}
	}
	made := map[string]*codeTable{}
	var order []string
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		line, _ := rows.FieldPos(0)
		if err != nil {
			l.fail(f.Name, line, "", "no CSV: %s", err)
			return
		}
		cell := func(name string) string {
			if i, ok := at[name]; ok && i < len(row) {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		name := cell("table")
		if name == "" || cell("code") == "" || cell("to") == "" {
			l.fail(f.Name, line, strings.Join(row, ","), "a row has a table, a code and what it becomes")
			continue
		}
		t := made[name]
		if t == nil {
			t = &codeTable{name: name, rows: map[string]coding{}}
			made[name] = t
			order = append(order, name)
		}
		l.csvRow(f.Name, line, t, cell)
	}
	for _, name := range order {
		made[name].foldCase()
		l.codes(name, made[name])
	}
}

// csvRow adds one row; without a system the table's own target system counts.
func (l *loader) csvRow(file string, line int, t *codeTable, cell func(string) string) {
	c := coding{code: cell("to"), display: cell("display")}
	if old := l.m.codes[t.name]; old != nil {
		c.system = old.to
	}
	if system := cell("system"); system != "" {
		uri, err := systemURI(system, l.m.systems)
		if err != nil {
			l.fail(file, line, system, "%s", err)
		}
		c.system = uri
	}
	code := cell("code")
	l.lay(laidRow{file: file, line: line, table: t.name, code: code, to: c})
	if code == "*" {
		t.rest = &c
		return
	}
	if _, twice := t.rows[code]; twice {
		l.fail(file, line, code, "%s has a row for this code above", t.name)
	}
	t.rows[code] = c
}
