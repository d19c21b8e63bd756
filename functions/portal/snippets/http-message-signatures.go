package webhooks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

var keys sync.Map // A kid never gets another key.

func key(kid string) (any, error) {
	if known, ok := keys.Load(kid); ok {
		return known, nil
	}
	answer, err := http.Get("KEYS_URL/keys/" + kid)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	block, _ := pem.Decode(text)
	if err != nil || answer.StatusCode != 200 || block == nil {
		return nil, errors.New("not a key of this tenant")
	}
	found, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err == nil {
		keys.Store(kid, found)
	}
	return found, err
}

func fits(kid string, signed, signature []byte) error {
	found, err := key(kid)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(signed)
	switch key := found.(type) {
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil {
			return nil
		}
	case *ecdsa.PublicKey:
		if len(signature) == 64 && ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			return nil
		}
	case ed25519.PublicKey:
		if ed25519.Verify(key, signed, signature) {
			return nil
		}
	}
	return errors.New("the signature does not fit")
}

var names = map[string]string{"RS256": "rsa-v1_5-sha256", "ES256": "ecdsa-p256-sha256", "EdDSA": "ed25519"}
var input = regexp.MustCompile(`^sig=(\(([^)]*)\);created=(\d+);keyid="([0-9a-f-]{36})";alg="([^"]*)";tag="signpost")$`)

// Verify returns an error if it does not verify. Take the URL from your settings, such as ENDPOINT_URL, not from what
// arrives behind a proxy.
func Verify(method, url string, headers http.Header, body []byte) error {
	match := input.FindStringSubmatch(headers.Get("signature-input"))
	if match == nil || match[5] != names["ALGORITHM"] {
		return errors.New("no signature with the tag signpost and ALGORITHM")
	}
	seconds, err := strconv.ParseInt(match[3], 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("signed more than five minutes ago")
	}
	covered := " " + strings.ReplaceAll(match[2], `"`, "") + " "
	for _, name := range []string{"@method", "@target-uri", "content-digest", "webhook-id"} {
		if !strings.Contains(covered, " "+name+" ") {
			return errors.New("the signature covers too little")
		}
	}
	var signed strings.Builder
	for _, name := range strings.Fields(covered) {
		value := headers.Get(name)
		if name == "@method" {
			value = method
		} else if name == "@target-uri" {
			value = url
		}
		signed.WriteString(`"` + name + `": ` + value + "\n")
	}
	signed.WriteString(`"@signature-params": ` + match[1])
	signature, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(strings.TrimPrefix(headers.Get("signature"), "sig=:"), ":"))
	if err != nil {
		return err
	}
	digest := sha256.Sum256(body)
	if headers.Get("content-digest") != "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":" {
		return errors.New("the body is another one")
	}
	return fits(match[4], []byte(signed.String()), signature)
}
