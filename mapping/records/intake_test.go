package records_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liaison-health/liaison/mapping/records"
)

// A client is one that speaks FHIR to a world.
type client struct {
	*world
	n int
}

func (c *client) ask(method, typ, id, body string) []*records.Record {
	c.n++
	change, err := records.FromFHIR(records.FHIRRequest{
		Method: method, Type: typ, ID: id, Body: []byte(body), Received: time.Unix(int64(c.n), 0),
		Origin: records.Origin{Source: "portal", SHA256: fmt.Sprintf("%064d", c.n), Journal: uint64(c.n)},
	})
	require.NoError(c.t, err)
	return c.fold(change)
}

// What is put under an id is the resource of that id, whatever identifiers it
// has had (R4 §3.1.0.4).
func TestPutUnderOneID(t *testing.T) {
	c := &client{world: newWorld(t)}
	patient := func(id, identifier string) []*records.Record {
		return c.ask("PUT", "Patient", id, `{"resourceType":"Patient","id":"`+id+`",`+identifier+`"birthDate":"1950-01-01"}`)
	}
	number := func(mrn string) string { return `"identifier":[{"system":"urn:x","value":"` + mrn + `"}],` }
	patient("p1", "")
	for i, identifier := range []string{number("MRN1"), number("MRN2"), ""} {
		made := patient("p1", identifier)
		require.Len(t, made, 1)
		require.Equal(t, []any{uint64(i + 2), "p1"}, []any{made[0].Version, made[0].Key.ID}, identifier)
	}
	patient("p2", number("MRN3"))
	made := patient("p2", "")
	require.Len(t, made, 1)
	require.Equal(t, []any{uint64(2), "MRN3"}, []any{made[0].Version, made[0].Key.ID})

	appointment := func(status, identifier string) {
		c.ask("PUT", "Appointment", "a1", `{"resourceType":"Appointment","id":"a1","status":"`+status+`",`+identifier+`"participant":[{"status":"accepted","actor":{"display":"x"}}]}`)
	}
	appointment("booked", "")
	appointment("cancelled", number("A1"))
	require.Equal(t, "cancelled", c.lastOf(records.Appointment, "a1").State, "the booking that consumers know")
}
