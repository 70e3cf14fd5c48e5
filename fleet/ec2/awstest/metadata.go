package awstest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Role is the name of the role whose credentials the metadata service hands out.
const Role = "release-agent"

func isMetadata(path string) bool { return strings.HasPrefix(path, "/latest/") }

// metadata is the instance metadata service as an instance sees it that requires version 2.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/latest/")
	if f := s.begin(Call{Service: "imds", Action: path}); f != nil {
		http.Error(w, f.Message, f.Status)
		return
	}
	if path == "api/token" {
		s.token(w, r)
		return
	}
	until, known := s.tokens[r.Header.Get("X-aws-ec2-metadata-token")]
	if !known || time.Now().After(until) {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	value, ok := map[string]string{
		"meta-data/placement/region":                 "eu-central-1",
		"dynamic/instance-identity/document":         `{"region":"eu-central-1","accountId":"` + Account + `"}`,
		"meta-data/iam/security-credentials/":        Role,
		"meta-data/iam/security-credentials/" + Role: credentials(time.Now().Add(time.Hour)),
		"user-data": s.opts.UserData,
	}[path]
	if !ok || value == "" {
		http.NotFound(w, r)
		return
	}
	fmt.Fprint(w, value)
}

// token answers PUT /latest/api/token: text, good for as many seconds as the header asks for, at most six hours.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds"))
	if r.Method != http.MethodPut || err != nil || seconds < 1 || seconds > 21600 {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	token := rand.Text()
	s.tokens[token] = time.Now().Add(time.Duration(seconds) * time.Second)
	w.Header().Set("X-aws-ec2-metadata-token-ttl-seconds", strconv.Itoa(seconds))
	fmt.Fprint(w, token)
}

func credentials(until time.Time) string {
	return fmt.Sprintf(`{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"example","Token":"example","Expiration":%q}`,
		until.UTC().Format(time.RFC3339))
}
