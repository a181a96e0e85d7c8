package mllp

import (
	"fmt"

	"github.com/liaison-health/liaison/mapping/hl7v2"
	"github.com/liaison-health/liaison/pipelines"
)

// Sequences keeps the number that is expected next of each sender that numbers
// its messages (HL7 v2.5.1 §2.10.1); -1: any. What Expect takes is durable when
// it returns.
type Sequences interface {
	Expected(sender string) (int64, error)
	Expect(sender string, next int64) error
}

// numbered takes a message in as its sequence number says, and gives its
// answers.
func (a *answerer) numbered(mode hl7v2.AckMode, raw []byte) [][]byte {
	receipt, accepted, err := a.inTurn(raw)
	switch {
	case err != nil:
		return a.refuse(mode, err)
	case accepted:
		return a.taken(mode, receipt)
	}
	code := hl7v2.AA // 0 and -1 speak of the link, and carry nothing
	switch {
	case !mode.Enhanced:
	case mode.Accept.Wants(true):
		code = hl7v2.CA
	case !mode.Application.Wants(true):
		return nil
	}
	return [][]byte{a.answer(code)}
}

// inTurn takes a message in when it is its turn. The messages of a source are
// taken one after the other then, whatever connection they come over. The number
// that is expected is kept behind the message: a crash between them lets the
// sender repeat it, as a duplicate.
func (a *answerer) inTurn(raw []byte) (receipt pipelines.Receipt, accepted bool, err error) {
	s := a.conn.server
	s.turn.Lock()
	defer s.turn.Unlock()
	head := a.msg.Segment(0)
	sender := s.cfg.Name + "|" + string(head.Field(3).Raw()) + "|" + string(head.Field(4).Raw())
	expected, err := s.cfg.Sequences.Expected(sender)
	if err != nil {
		return receipt, false, fmt.Errorf("sequence number: %w", err)
	}
	verdict := hl7v2.CheckSequence(expected, string(head.Field(13).Raw()))
	if e := verdict.Error; e != nil {
		s.cfg.Log.Warn("a message out of its sender's sequence is not taken", "source", s.cfg.Name, "peer", a.conn.peer, "expected", expected)
		a.expected = verdict.Expected
		return receipt, false, &pipelines.Refused{Code: "AE", Condition: e.Code, Place: e.Location.String(), Reason: e.Text}
	}
	if verdict.Accept {
		if receipt, err = a.accept(raw); err != nil {
			return receipt, false, err
		}
	}
	if verdict.Next != expected {
		if err := s.cfg.Sequences.Expect(sender, verdict.Next); err != nil {
			return receipt, false, fmt.Errorf("sequence number: %w", err)
		}
	}
	a.expected = verdict.Expected
	return receipt, verdict.Accept, nil
}
