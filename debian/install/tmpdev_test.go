package install
import ("testing";"os";"os/exec";"path/filepath";"context";"time";"github.com/bootandshoot/release/images";"github.com/bootandshoot/release/debian";"strings")
func TestDev(t *testing.T){
 files,_:=filepath.Glob("/tmp/proto/debs/*.deb")
 var items []Item
 for _,f:=range files { out,_:=exec.Command("dpkg-deb","-f",f).Output(); ps,err:=debian.ParseParagraphs(f,string(out)); if err!=nil{t.Fatal(err)}; p,err:=debian.ParsePackage(ps[0]); if err!=nil {t.Fatal(err)}; items=append(items,Item{p,f})}
 os.MkdirAll(os.Getenv("DEVSTORE")+"",0o700)
 st,err:=images.Open(os.Getenv("DEVSTORE")+""); if err!=nil {t.Fatal(err)}
 os.MkdirAll(os.Getenv("DEVSTORE")+"/w",0o700)
 start:=time.Now()
 layers,err:=Install(context.Background(),Options{Store:st,Arch:"amd64",Epoch:1700000000,Work:os.Getenv("DEVSTORE")+"/w",Batches:[][]Item{items},Progress:func(e Event){ if e.Kind==Output {t.Log(time.Since(start),e.Line)} else if e.Kind==Phase {t.Log(time.Since(start),e.Line)}}})
 if err!=nil {t.Fatal(err)}
 t.Log("TOTAL",time.Since(start))
 var ds []string
 for _,l:=range layers { t.Log(l.Digest,l.Size,l.CreatedBy); ds=append(ds, string(l.Digest)) }
 os.WriteFile(os.Getenv("DEVSTORE")+"/layers",[]byte(strings.Join(ds,"\n")+"\n"),0o644)
}
