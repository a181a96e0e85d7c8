package hl7v2_test

import "time"

// noon is the time of acknowledgements in these tests.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
