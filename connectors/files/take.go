package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/liaison-health/liaison/mapping/fhir"
	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

// errChanged: the file is not the one that the look saw. It is taken later.
var errChanged = errors.New("the file changed while it was read")

// errStopped: ctx ended; the rest is for the next start.
var errStopped = errors.New("stopped within the file")

// errPanicked: Accept failed in a way that it does not know itself.
var errPanicked = errors.New("the message could not be processed")

// A survey is what the first reading of a file finds.
type survey struct {
	sum      string
	messages int
	problems []problem // for which nothing is taken
}

// take takes one file: survey, messages, report, move.
func (s *Source) take(ctx, work context.Context, in pipelines.Intake, info fs.FileInfo) error {
	path := filepath.Join(s.cfg.Directory, info.Name())
	f, err := openSame(path, info)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	isFHIR := strings.EqualFold(filepath.Ext(info.Name()), ".json")
	found, err := s.survey(ctx, f, isFHIR)
	if err != nil {
		return err
	}
	p, err := openProgress(filepath.Join(s.cfg.Directory, progressDir, keyOf(info.Name())+progressSuffix), header{SHA256: found.sum, Bytes: info.Size()})
	if err != nil {
		return err
	}
	defer p.close()
	began := s.cfg.Clock()
	if len(found.problems) == 0 {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read again: %w", err)
		}
		if err := s.messages(ctx, work, in, f, info.Name(), isFHIR, p); err != nil {
			return err
		}
	}
	return s.finish(work, info, found, isFHIR, p, began)
}

// openSame opens the file that a look has seen, not what stands there since.
func openSame(path string, seen fs.FileInfo) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("take: %w", err)
	}
	now, err := f.Stat()
	if err != nil || !unchanged(seen, now) {
		_ = f.Close()
		return nil, errChanged
	}
	return f, nil
}

func unchanged(a, b fs.FileInfo) bool {
	return b.Mode().IsRegular() && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// survey reads the file once: its hash, and whether it is whole.
func (s *Source) survey(ctx context.Context, f io.Reader, isFHIR bool) (survey, error) {
	h := sha256.New()
	out := survey{}
	if isFHIR {
		if _, err := io.Copy(h, f); err != nil {
			return out, fmt.Errorf("read: %w", err)
		}
		out.messages = 1
	} else {
		split := hl7v2.NewSplitter(io.TeeReader(f, h)).Limit(s.cfg.MaxMessage)
		for {
			if ctx.Err() != nil {
				return out, errStopped
			}
			_, err := split.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			bad := torn(err)
			switch {
			case bad != nil:
				if len(out.problems) < 100 {
					out.problems = append(out.problems, *bad)
				}
			case err != nil && !errors.Is(err, hl7v2.ErrTooLong):
				return out, fmt.Errorf("read: %w", err)
			default:
				out.messages++
			}
		}
		if out.messages == 0 && len(out.problems) == 0 {
			out.problems = []problem{{Code: "AR", Condition: "100", Reason: "there is no message in the file"}}
		}
	}
	out.sum = hex.EncodeToString(h.Sum(nil))
	return out, nil
}

// torn is what shows that a file is not whole, or nil.
func torn(err error) *problem {
	var count *hl7v2.BatchCountError
	var cut *hl7v2.CutError
	bad := &problem{Code: "AE", Condition: "207"}
	switch {
	case errors.As(err, &count):
		bad.Place = count.Trailer + "-1"
	case errors.As(err, &cut):
		bad.Place = cut.Missing
	default:
		return nil
	}
	bad.Reason = err.Error() + "; send the file again whole"
	return bad
}

// messages takes each message that has no line of progress yet.
func (s *Source) messages(ctx, work context.Context, in pipelines.Intake, f io.Reader, name string, isFHIR bool, p *progress) error {
	h := sha256.New()
	f = io.TeeReader(f, h)
	next := s.v2(f)
	if isFHIR {
		next = s.fhir(f)
	}
	for index := 0; ; index++ {
		m, r, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if index < p.lines {
			continue
		}
		r.Index = index
		if r.Error == nil {
			m.Source, m.Peer = s.cfg.Name, name
			if err := s.accept(ctx, work, in, m, &r); err != nil {
				return err
			}
		}
		s.count(&r)
		if err := p.add(&r); err != nil {
			return err
		}
	}
	if hex.EncodeToString(h.Sum(nil)) != p.SHA256 {
		p.remove()
		return errChanged
	}
	return nil
}

// accept gives a message to the engine until it takes or refuses it.
func (s *Source) accept(ctx, work context.Context, in pipelines.Intake, m *pipelines.Message, r *result) error {
	for pause := s.cfg.Backoff; ; pause = min(2*pause, longestPause) {
		if ctx.Err() != nil {
			return errStopped
		}
		again := *m // what Accept sets is of one try
		receipt, err := accept(work, in, &again)
		var refused *pipelines.Refused
		switch {
		case err == nil:
			r.Position, r.Duplicate = receipt.Position, receipt.Duplicate
			return nil
		case errors.As(err, &refused):
			r.Error = &problem{Code: refused.Code, Condition: refused.Condition, Place: refused.Place, Reason: refused.Reason}
			return nil
		case errors.Is(err, errPanicked):
			r.Error = &problem{Code: "AE", Condition: "207", Reason: errPanicked.Error()}
			s.cfg.Log.Error("message failed", "source", s.cfg.Name, "file", keyOf(m.Peer), "index", r.Index)
			return nil
		}
		if pause == s.cfg.Backoff {
			s.cfg.Log.Warn("message waits", "source", s.cfg.Name, "file", keyOf(m.Peer), "index", r.Index, "error", err.Error())
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.cfg.Poke:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// accept keeps a panic of the engine to the message that caused it.
func accept(ctx context.Context, in pipelines.Intake, m *pipelines.Message) (receipt pipelines.Receipt, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			err = errPanicked
		}
	}()
	return in.Accept(ctx, m)
}

func (s *Source) count(r *result) {
	code := "AA"
	if r.Error != nil {
		code = r.Error.Code
	}
	s.cfg.Answered(s.cfg.Name, code)
}

// A reader gives the next message, or what is wrong with it; io.EOF at the end.
type reader func() (*pipelines.Message, result, error)

// v2 reads HL7 v2 messages.
func (s *Source) v2(f io.Reader) reader {
	split := hl7v2.NewSplitter(f).Limit(s.cfg.MaxMessage)
	var msg hl7v2.Message
	return func() (*pipelines.Message, result, error) {
		item, err := split.Next()
		for torn(err) != nil { // the survey saw none: the file is changing
			item, err = split.Next()
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil, result{}, io.EOF
		case errors.Is(err, hl7v2.ErrTooLong):
			return nil, result{Error: &problem{Code: "AR", Condition: "104", Reason: err.Error()}}, nil
		case err != nil:
			return nil, result{}, fmt.Errorf("read: %w", err)
		}
		if err := msg.Parse(item.Raw); err != nil {
			bad := problem{Code: "AR", Condition: "100", Reason: "not an HL7 v2 message"}
			var syntax *hl7v2.SyntaxError
			if errors.As(err, &syntax) {
				bad.Place, bad.Reason = syntax.Place.String(), syntax.Reason
			}
			return nil, result{Error: &bad}, nil
		}
		head := msg.Header()
		r := result{ControlID: head.ControlID}
		if head.IsAck() {
			r.Error = &problem{Code: "AR", Condition: "200", Place: "MSH-9", Reason: "an acknowledgement is not taken as a message"}
			return nil, r, nil
		}
		return &pipelines.Message{Format: pipelines.HL7v2, Raw: item.Raw}, r, nil
	}
}

// fhir reads the one resource or Bundle of a file. A resource with an id is an
// update of that id, as a PUT; one without, and a Bundle, is as POSTed.
func (s *Source) fhir(f io.Reader) reader {
	read := false
	return func() (*pipelines.Message, result, error) {
		if read {
			return nil, result{}, io.EOF
		}
		read = true
		raw, err := io.ReadAll(io.LimitReader(f, int64(s.cfg.MaxMessage)+1))
		if err != nil {
			return nil, result{}, fmt.Errorf("read: %w", err)
		}
		if len(raw) > s.cfg.MaxMessage {
			if _, err := io.Copy(io.Discard, f); err != nil { // the hash is of all of it
				return nil, result{}, fmt.Errorf("read: %w", err)
			}
			return nil, result{Error: &problem{Code: "AR", Condition: "104", Reason: hl7v2.ErrTooLong.Error()}}, nil
		}
		meta, bad := s.request(raw)
		if bad != nil {
			return nil, result{Error: bad}, nil
		}
		return &pipelines.Message{Format: pipelines.FHIR, Raw: raw, Meta: meta}, result{}, nil
	}
}

// request says what a FHIR server would have been asked with these bytes.
func (s *Source) request(raw []byte) ([]byte, *problem) {
	node, err := fhir.ParseJSON(raw)
	if err != nil {
		bad := &problem{Code: "AR", Condition: "100", Reason: "not JSON as FHIR has it"}
		var syntax *fhir.JSONError
		if errors.As(err, &syntax) {
			bad.Place, bad.Reason = syntax.Path, syntax.Reason
		}
		return nil, bad
	}
	typ := node.ResourceType()
	request := struct {
		Method string `json:"method"`
		Type   string `json:"type"`
		ID     string `json:"id,omitempty"`
	}{Method: "POST", Type: typ}
	switch typ {
	case "":
		return nil, &problem{Code: "AR", Condition: "101", Place: "resourceType", Reason: "resourceType is missing"}
	case "Bundle":
		request.Type = "" // to the base, entry by entry
		switch node.Str("type") {
		case "transaction", "batch", "message", "collection", "history":
		default:
			return nil, &problem{Code: "AR", Condition: "103", Place: "Bundle.type", Reason: "a Bundle here is a transaction, batch, message, collection or history"}
		}
		if n := len(node.Get("entry").Items()); n > s.cfg.MaxEntries {
			return nil, &problem{Code: "AR", Condition: "104", Place: "Bundle.entry", Reason: fmt.Sprintf("a Bundle here has up to %d entries; send it in parts", s.cfg.MaxEntries)}
		}
		if place := fhir.NoWrite(node); place != "" {
			return nil, &problem{Code: "AR", Condition: "103", Place: place, Reason: "an entry is a POST or a PUT of a resource; what is deleted is sent as such, with the status entered-in-error"}
		}
	default:
		if request.ID = node.ID(); request.ID != "" {
			request.Method = "PUT"
		}
	}
	if s.cfg.Check != nil {
		if issues := s.cfg.Check(node); len(issues) > 0 {
			return nil, &problem{Code: "AR", Condition: "102", Place: issues[0].Expression, Reason: issues[0].Diagnostics}
		}
	}
	meta, err := json.Marshal(request)
	if err != nil {
		return nil, &problem{Code: "AR", Condition: "207", Reason: "the resource's type or id cannot be written"}
	}
	return meta, nil
}
