package resolve
import ("testing";"os";"strings";"os/exec";"fmt")
func TestDbg(t *testing.T) {
	a := newAptState(t)
	u := New(a.packages(t), a.arch).WithSuites(a.suites())
	base, err := u.Base()
	if err != nil { t.Fatal(err) }
	a.install(t, base.Packages)
	set := strings.Fields(os.Getenv("SET"))
	for _, n := range set { if g := u.groups[n]; g != nil && len(g.nodes)>0 { fmt.Println(n, g.nodes[0].place) } }
	_ = exec.Command
	out, err := a.run(append([]string{"-s","-o","Debug::pkgDepCache::Marker=1","-o","Debug::pkgDepCache::AutoInstall=1","--no-install-recommends","install"}, set...)...)
	fmt.Println(out, err)
}
