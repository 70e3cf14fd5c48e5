// App is the service that both sides of the measurement start: it answers on $PORT.
package main

import (
	"net"
	"os"
)

const answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"

func main() {
	l, err := net.Listen("tcp4", ":"+os.Getenv("PORT"))
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	buf := make([]byte, 4096)
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		if _, err := c.Read(buf); err == nil {
			_, _ = c.Write([]byte(answer))
		}
		_ = c.Close()
	}
}
