// Hello is the program in the images that the tests load into an engine.
package main

import (
	"fmt"
	"os"
)

func main() {
	data, err := os.ReadFile("/etc/greeting")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Print(string(data))
}
