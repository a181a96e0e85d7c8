package tables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// Version is a hash over the tables that are part of the program: two programs
// with the same version map with the same tables.
func Version() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(builtin, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := builtin.ReadFile(name)
		fmt.Fprintf(h, "%s %d\n", name, len(data))
		h.Write(data)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read tables: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
