package awstest

import "slices"

// Left are the ids and names of all that is in a region and has not ended.
func (s *Server) Left(region string) []string {
	all := s.Living(region)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.region(region)
	for id := range r.images {
		all = append(all, id)
	}
	for id := range r.snapshots {
		all = append(all, id)
	}
	for name := range r.templates {
		all = append(all, "launch template "+name)
	}
	for name, g := range r.groups {
		if g.deleted.IsZero() {
			all = append(all, "group "+name)
		}
	}
	for id := range r.networks {
		all = append(all, id)
	}
	for id := range r.volumes {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}
