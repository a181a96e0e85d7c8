package hl7v2

import (
	"archive/zip"
	_ "embed" // the time-zone data below
	"fmt"
	"io"
	"strings"
	"time"
)

// zoneinfo is the IANA time-zone database 2025c as the Go distribution packs it
// (lib/time/zoneinfo.zip). time.LoadLocation would ask the machine's files
// first, and the same message would mean different instants on two machines;
// this one is part of the program, and a newer one is a reviewed change.
//
//go:embed zoneinfo.zip
var zoneinfo string

// LoadLocation gives a zone by its IANA name from the program's own database,
// never from the machine's files or its ZONEINFO variable. "Local" and "" are
// refused: a result must not depend on the machine it was computed on. It takes
// about 0.2 ms; callers keep what it gives.
func LoadLocation(name string) (*time.Location, error) {
	if name == "UTC" {
		return time.UTC, nil
	}
	archive, err := zip.NewReader(strings.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		return nil, fmt.Errorf("read the time-zone database: %w", err)
	}
	file, err := archive.Open(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: give an IANA name such as Europe/Berlin", name)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: give an IANA name such as Europe/Berlin", name)
	}
	loc, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	return loc, nil
}
