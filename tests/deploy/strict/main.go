// SPDX-FileCopyrightText: 2026 The Dragoman Authors
// SPDX-License-Identifier: Apache-2.0

// Decodes Kubernetes objects from standard input into Kubernetes' own types, strictly: an unknown kind, a field that a
// kind does not have, a field twice, or a value of another type is printed, and the exit status is 1. Asks no cluster,
// so what only a server checks (names, ranges, admission) is not checked here.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := utilyaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	good, bad := 0, 0
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, _, err = decoder.Decode(document, nil, nil)
		}
		if err != nil {
			fmt.Println(err)
			bad++
			continue
		}
		good++
	}
	fmt.Printf("%d objects hold, %d do not\n", good, bad)
	if bad > 0 {
		os.Exit(1)
	}
}
