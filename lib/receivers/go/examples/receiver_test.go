package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

type vector struct {
	Name, Format string
	Now          int64
	Receiver     struct {
		KeySet, URL, Algorithm string
		Secrets                []string
	}
	Request struct {
		Method, URL, Body string
		Headers           [][2]string
	}
	Expected struct{ Accepted bool }
}

// The vectors of the formats that the program verifies.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		KeySets map[string]json.RawMessage
		Vectors []vector
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, one := range file.Vectors {
		isJWS := one.Format == "jws" && one.Receiver.KeySet != ""
		if !isJWS && (one.Format != "standard-webhooks" || len(one.Receiver.Secrets) == 0) {
			continue
		}
		count++
		server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
			_, _ = answer.Write(file.KeySets[one.Receiver.KeySet])
		}))
		isAccepted := false
		for _, secret := range append(one.Receiver.Secrets, "") {
			if secret == "" && !isJWS {
				continue
			}
			receiver := &Receiver{
				KeysURL: server.URL, URL: one.Receiver.URL, Algorithm: one.Receiver.Algorithm, Secret: secret,
				Now: func() time.Time { return time.Unix(one.Now, 0) },
			}
			body, _ := base64.StdEncoding.DecodeString(one.Request.Body)
			request := httptest.NewRequest(one.Request.Method, one.Request.URL, strings.NewReader(string(body)))
			for _, header := range one.Request.Headers {
				request.Header.Add(header[0], header[1])
			}
			answer := httptest.NewRecorder()
			receiver.ServeHTTP(answer, request)
			isAccepted = isAccepted || answer.Code == http.StatusNoContent
		}
		server.Close()
		if isAccepted != one.Expected.Accepted {
			t.Errorf("%s: accepted is %v; expected %v", one.Name, isAccepted, one.Expected.Accepted)
		}
	}
	if count < 60 {
		t.Errorf("%d vectors; expected at least 60", count)
	}
}

func TestKeysThatAreNotAvailable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	receiver := &Receiver{KeysURL: server.URL, Now: time.Now}
	header := base64url.EncodeToString([]byte(`{"alg":"RS256","kid":"a"}`))
	for attempt := 0; attempt < 2; attempt++ {
		request := httptest.NewRequest(http.MethodPost, "/in", strings.NewReader("{}"))
		request.Header.Set("jws-signature", header+"..AAAA")
		answer := httptest.NewRecorder()
		receiver.ServeHTTP(answer, request)
		if answer.Code != http.StatusServiceUnavailable {
			t.Errorf("the status is %d; expected 503", answer.Code)
		}
	}
}
