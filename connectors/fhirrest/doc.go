// Package fhirrest takes FHIR R4 resources over HTTP (R4 §3.1 RESTful API):
// POST of Bundles and resources, PUT, and read of what is held. A client sees
// 200 or 201 only after the intake has its bytes on disk, and they are taken in
// as they came.
package fhirrest
