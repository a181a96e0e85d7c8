package engine

import (
	"bytes"
	"testing"
)

// FuzzEntry: any bytes are an entry or an error, and what reads as an entry is
// the same after it was written again.
func FuzzEntry(f *testing.F) {
	for _, seed := range []string{
		"", "\n", "{}\n", `{"t":"message","s":"adt","f":1,"r":5,"d":"00","h":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}` + "\n",
		`{"t":"retry","of":7,"r":1}` + "\nMSH|^~\\&|", `{"t":"drop","of":7,"by":"x","why":"y","r":1}` + "\n", `{"t":1}` + "\n", "{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEntry(3, data)
		if err != nil {
			return
		}
		written, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeEntry(3, written)
		if err != nil {
			t.Fatalf("what was written does not read: %v", err)
		}
		if again.Type != e.Type || again.Of != e.Of || again.Received != e.Received || again.SHA256 != e.SHA256 || !bytes.Equal(again.raw, e.raw) {
			t.Fatalf("%+v came back as %+v", e, again)
		}
	})
}
