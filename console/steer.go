package console

import (
	"net/http"
	"strings"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

// steer hands a word on, with the name of who says it.
func (s *Server) steer(w http.ResponseWriter, r *http.Request) error {
	var in api.Steer
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	word := orchestrator.Word{Verb: in.Verb, Reason: oneLine(in.Reason, maxReason), Until: in.Until, Force: in.Force, DryRun: in.DryRun}
	word.By, _ = by(r, in.By)
	if in.Verb == "approve" {
		var err error
		if word.Name, word.By, err = approver(r, in); err != nil {
			return err
		}
	}
	done, err := s.Orchestrator.Steer(r.Context(), keyOf(r), word)
	if err != nil {
		return err
	}
	return answer(w, api.Steered{Done: append([]string{}, done...)})
}

// approver is the user for whom the caller acts, and how that is recorded. Only root may act for others; "" is a caller whom
// nobody knows.
func approver(r *http.Request, in api.Steer) (name, recorded string, err error) {
	said, origin := by(r, in.By)
	if origin == nil {
		return "", said, nil
	}
	name, _, _ = strings.Cut(said, "@")
	if in.As == "" || in.As == name {
		return name, said, nil
	}
	if who, _ := r.Context().Value(callerKey{}).(caller); !who.root {
		return "", "", fault.New(fault.Denied, "approve as %s: the caller is %s", in.As, origin.User).
			WithHint("only root may act for others")
	}
	name = oneLine(in.As, maxName)
	return name, name + " (" + said + ")", nil
}
