package console

import (
	"net/http"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// missing says which of the client's blobs the agent's store lacks.
func (s *Server) missing(w http.ResponseWriter, r *http.Request) error {
	var in api.Blobs
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	out := api.Blobs{Blobs: []api.Blob{}}
	for _, b := range in.Blobs {
		if !s.Images.Has(b.Digest) {
			out.Blobs = append(out.Blobs, b)
		}
	}
	return answer(w, out)
}

func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength < 0 {
		return fault.New(fault.Invalid, "upload %s: no Content-Length", r.PathValue("digest"))
	}
	b := api.Blob{Digest: r.PathValue("digest"), Size: r.ContentLength}
	if err := s.Images.Write(r.Context(), b, r.Body); err != nil {
		return err
	}
	return answer(w, struct{}{})
}

func (s *Server) putImage(w http.ResponseWriter, r *http.Request) error {
	var in api.ImageName
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := s.Images.Tag(r.Context(), r.PathValue("digest"), in.Name); err != nil {
		return err
	}
	return answer(w, struct{}{})
}
