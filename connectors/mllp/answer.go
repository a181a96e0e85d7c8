package mllp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

// outcomePatience is how long an answer waits for a message's outcome.
const outcomePatience = 30 * time.Second

// answerIDs makes the control ids of acknowledgements.
type answerIDs struct {
	prefix string
	n      atomic.Uint64
}

func (a *answerIDs) next() string { return a.prefix + strconv.FormatUint(a.n.Add(1), 36) }

// An answerer takes one connection's messages in and writes their answers, in
// order.
type answerer struct {
	conn *conn
	ctx  context.Context
	msg  hl7v2.Message
	out  []byte
	held bool // within a batch, whose answers go out together

	expected string // MSA-4 of the message's answers
}

// handle takes one frame: a message, several, or a batch.
func (a *answerer) handle(raw []byte) error {
	if !hl7v2.IsBatch(raw) && !several(raw) {
		for _, ack := range a.message(raw) {
			a.out = appendFrame(a.out, ack)
		}
		return nil
	}
	if !hl7v2.IsBatch(raw) {
		return a.each(raw)
	}
	if bytes.Count(raw, []byte("\rMSH"))+bytes.Count(raw, []byte("\nMSH")) > mostInBatch {
		a.reject(raw, "207", "too many messages in one batch; send it in parts")
		return nil
	}
	items, err := hl7v2.SplitAll(raw)
	var count *hl7v2.BatchCountError
	if errors.As(err, &count) || len(items) == 0 { // cut short on its way: none is taken, all may be sent again
		a.reject(raw, "207", "the batch does not hold what its trailer counts; send it again whole")
		return nil
	}
	a.held = true
	defer func() { a.held = false }()
	var acks [][]byte
	for _, item := range items {
		acks = append(acks, a.message(item.Raw)...)
	}
	if answer := hl7v2.BuildBatchAck(items[0].Batch, acks, a.conn.server.answers.next(), time.Now()); answer != nil {
		a.out = appendFrame(a.out, answer)
	}
	return nil
}

// The bounds of what stands ready at once.
const (
	mostInBatch = 10_000   // messages of a batch, which is answered as one
	mostReady   = 64 << 10 // bytes of answers
)

// each takes messages that stand in one frame without a batch around, one by
// one.
func (a *answerer) each(raw []byte) error {
	messages := hl7v2.NewSplitter(bytes.NewReader(raw)).Limit(len(raw))
	for {
		item, err := messages.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			a.reject(raw, "207", "the messages of a frame cannot be told apart")
			return nil
		}
		for _, ack := range a.message(item.Raw) {
			a.out = appendFrame(a.out, ack)
		}
		if len(a.out) > mostReady {
			if err := a.flush(); err != nil {
				return err
			}
		}
	}
}

// several says whether a frame holds a second message without a batch around.
func several(raw []byte) bool {
	return bytes.Contains(raw, []byte("\rMSH")) || bytes.Contains(raw, []byte("\nMSH"))
}

// message takes one message in and gives its answers: none, one, or both of
// the enhanced mode.
func (a *answerer) message(raw []byte) [][]byte {
	if err := a.msg.Parse(raw); err != nil {
		refused := &pipelines.Refused{Code: "AR", Condition: "100", Reason: "not an HL7 v2 message"}
		var syntax *hl7v2.SyntaxError
		if errors.As(err, &syntax) {
			refused.Place, refused.Reason = syntax.Place.String(), syntax.Reason
		}
		ack := hl7v2.BuildReject(raw, a.conn.server.answers.next(), time.Now(), ackError(refused))
		if ack == nil {
			return nil
		}
		a.countAck(ack)
		return [][]byte{ack}
	}
	if a.msg.Header().IsAck() {
		a.conn.server.cfg.Log.Warn("an acknowledgement where a message was expected", "source", a.conn.server.cfg.Name, "peer", a.conn.peer)
		return nil
	}
	mode := a.msg.Header().AckMode()
	if a.conn.server.cfg.Charset != "" {
		_ = a.msg.SetDefaultCharset(a.conn.server.cfg.Charset)
	}
	a.expected = ""
	if a.conn.server.cfg.Sequences != nil && len(a.msg.Segment(0).Field(13).Raw()) > 0 {
		return a.numbered(mode, raw)
	}
	receipt, err := a.accept(raw)
	if err != nil {
		return a.refuse(mode, err)
	}
	return a.taken(mode, receipt)
}

func (a *answerer) accept(raw []byte) (pipelines.Receipt, error) {
	return a.conn.in.Accept(a.ctx, &pipelines.Message{ //nolint:wrapcheck // told apart by who asks
		Source: a.conn.server.cfg.Name, Format: pipelines.HL7v2, Peer: a.conn.peer, Raw: raw,
	})
}

// taken gives the answers of a message that is in the journal.
func (a *answerer) taken(mode hl7v2.AckMode, receipt pipelines.Receipt) [][]byte {
	var out [][]byte
	if mode.Enhanced && mode.Accept.Wants(true) {
		out = append(out, a.answer("CA"))
	}
	switch {
	case mode.Enhanced && mode.Accept != hl7v2.Never && mode.Accept != "" && mode.Application != hl7v2.Never && mode.Application != "":
		if len(out) > 0 && !a.held { // the commit answer need not wait for the outcome
			a.out = appendFrame(a.out, out[0])
			out = nil
			if a.flush() != nil {
				return nil
			}
		}
		if ack := a.outcome(mode, receipt); ack != nil {
			out = append(out, ack)
		}
	case mode.Enhanced && (mode.Application == hl7v2.Never || mode.Application == ""):
	case a.conn.server.cfg.Processed || mode.Enhanced && mode.Application != hl7v2.Always:
		if ack := a.outcome(mode, receipt); ack != nil {
			out = append(out, ack)
		}
	default:
		out = append(out, a.answer("AA"))
	}
	return out
}

// outcome waits for what became of the message: quarantine is an error there.
func (a *answerer) outcome(mode hl7v2.AckMode, receipt pipelines.Receipt) []byte {
	outcome, err := a.wait(receipt.Position)
	wants := func(positive bool) bool { return !mode.Enhanced || mode.Application.Wants(positive) }
	switch {
	case err != nil:
		if !wants(false) {
			return nil
		}
		return a.answer("AE", hl7v2.AckError{Code: "207", Severity: "E", Text: "stored, but its outcome is not known yet"})
	case outcome.Status == pipelines.Quarantined:
		if !wants(false) {
			return nil
		}
		return a.answer("AE", ackError(&pipelines.Refused{Condition: pipelines.Reason(outcome.Reason).Condition(), Place: outcome.Place, Reason: outcome.Reason}))
	case wants(true):
		return a.answer("AA")
	}
	return nil
}

// wait follows a duplicate to the message that it repeats.
func (a *answerer) wait(position uint64) (pipelines.Outcome, error) {
	ctx, cancel := context.WithTimeout(a.ctx, outcomePatience)
	defer cancel()
	for range 8 {
		o, err := a.conn.server.cfg.Outcomes.Wait(ctx, position)
		if err != nil || o.Status != pipelines.Duplicate || o.Of == 0 || o.Of == position {
			if err != nil {
				return o, fmt.Errorf("wait for the outcome: %w", err)
			}
			return o, nil
		}
		position = o.Of
	}
	return pipelines.Outcome{Status: pipelines.Duplicate}, nil
}

// refuse answers a message that was not taken.
func (a *answerer) refuse(mode hl7v2.AckMode, err error) [][]byte {
	code, detail := "AE", hl7v2.AckError{Code: "207", Severity: "E", Text: "not stored; send it again"}
	var refused *pipelines.Refused
	switch {
	case errors.As(err, &refused):
		code, detail = refused.Code, ackError(refused)
	case errors.Is(err, pipelines.ErrFull):
		detail.Text = "no room to store it; send it again later"
	case errors.Is(err, pipelines.ErrClosed):
		detail.Text = "stopping; send it again"
	default:
		a.conn.server.cfg.Log.Error("message not taken", "source", a.conn.server.cfg.Name, "error", err.Error())
	}
	switch {
	case !mode.Enhanced:
	case mode.Accept.Wants(false):
		code = "C" + code[1:]
	case !mode.Application.Wants(false):
		a.count(code)
		return nil
	}
	return [][]byte{a.answer(hl7v2.AckCode(code), detail)}
}

func (a *answerer) answer(code hl7v2.AckCode, errs ...hl7v2.AckError) []byte {
	a.count(string(code))
	answer := hl7v2.Answer{Code: code, ControlID: a.conn.server.answers.next(), Time: time.Now(), Expected: a.expected, Errors: errs}
	return answer.Append(nil, &a.msg)
}

// reject answers bytes that are no message of their own.
func (a *answerer) reject(raw []byte, condition, reason string) {
	if ack := hl7v2.BuildReject(raw, a.conn.server.answers.next(), time.Now(), hl7v2.AckError{Code: condition, Severity: "E", Text: reason}); ack != nil {
		a.countAck(ack)
		a.out = appendFrame(a.out, ack)
	}
}

func (a *answerer) count(code string) { a.conn.server.cfg.Answered(a.conn.server.cfg.Name, code) }

func (a *answerer) countAck(ack []byte) {
	if read, err := hl7v2.ParseAck(ack); err == nil {
		a.count(string(read.Code))
	}
}

// ackError says in ERR what was refused; never a value of the message.
func ackError(r *pipelines.Refused) hl7v2.AckError {
	e := hl7v2.AckError{Code: orElse(r.Condition, "207"), Severity: "E", Text: r.Reason}
	if place, ok := hl7v2.ParsePlace(r.Place); ok {
		e.Location = place
	}
	return e
}

func (a *answerer) flush() error {
	if len(a.out) == 0 {
		return nil
	}
	if err := a.conn.conn.SetWriteDeadline(time.Now().Add(a.conn.server.cfg.FrameTimeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	_, err := a.conn.conn.Write(a.out)
	a.out = a.out[:0]
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}
