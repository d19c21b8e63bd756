// Receives webhooks with Go and its standard library: `go run receiver.go`. Verifies JWS, and `v1` of Standard Webhooks.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Receiver has an endpoint's settings, and keeps the tenant's keys.
type Receiver struct {
	KeysURL   string // The endpoint's `jwksUrl`.
	URL       string // The endpoint's `url`.
	Algorithm string // The endpoint's `jwsAlgorithm`. If it is empty, the key's own counts.
	Secret    string // The endpoint's `signingSecret`, or empty.
	Now       func() time.Time

	mutex   sync.Mutex
	keys    []key
	fetched time.Time
	expires time.Time
}

type key struct {
	Kid, Alg, Kty, Crv, N, E, X, Y string
	Endpoint                       string // A key with an endpoint signs `v1a` only.
}

var (
	errUnavailable = errors.New("the keys could not be fetched")
	client         = &http.Client{Timeout: 3 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // The URL of the keys is fixed.
	}}
	base64url = base64.RawURLEncoding.Strict()
	maxAge    = regexp.MustCompile(`\bmax-age=([0-9]{1,6})`)
)

// Verify verifies all signatures that it knows. The body is the bytes as they arrived.
func (r *Receiver) Verify(request *http.Request, body []byte) error {
	payload := body
	if request.Method == http.MethodGet {
		payload = []byte(r.queryOf(request))
	}
	jws, webhook := request.Header.Get("jws-signature"), request.Header.Get("webhook-signature")
	if jws == "" && (webhook == "" || r.Secret == "") {
		return errors.New("no signature to verify; pass all headers on")
	}
	if jws != "" {
		if err := r.verifyJWS(jws, payload); err != nil {
			return err
		}
	}
	if webhook != "" && r.Secret != "" {
		return r.verifyStandardWebhook(request.Header, webhook, payload)
	}
	return nil
}

// The payload of a GET is the query after that of the endpoint's own URL.
func (r *Receiver) queryOf(request *http.Request) string {
	query := request.URL.RawQuery
	if _, own, found := strings.Cut(r.URL, "?"); found && (query == own || strings.HasPrefix(query, own+"&")) {
		return strings.TrimPrefix(query[len(own):], "&")
	}
	return query
}

func (r *Receiver) verifyJWS(text string, payload []byte) error {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[1] != "" {
		return errors.New("`jws-signature` is not `<header>..<signature>`")
	}
	var header struct {
		Alg, Kid string
		Crit     any
	}
	decoded, err := base64url.DecodeString(parts[0])
	if err != nil || json.Unmarshal(decoded, &header) != nil || header.Crit != nil {
		return errors.New("the header of `jws-signature` is not base64url of JSON")
	}
	signature, err := base64url.DecodeString(parts[2])
	if err != nil {
		return errors.New("the signature is not base64url without padding")
	}
	signer, err := r.key(header.Kid)
	if err != nil {
		return err
	}
	if header.Alg != signer.Alg || (r.Algorithm != "" && header.Alg != r.Algorithm) {
		return fmt.Errorf("`alg` is %q; expected that of the endpoint", header.Alg)
	}
	if !signer.verifies([]byte(parts[0]+"."+base64url.EncodeToString(payload)), signature) {
		return errors.New("the JWS does not fit the payload; verify the bytes as they arrived, before any JSON parser")
	}
	return nil
}

func (r *Receiver) verifyStandardWebhook(headers http.Header, entries string, payload []byte) error {
	id, timestamp := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil {
		return errors.New("`webhook-id` or `webhook-timestamp` is missing; pass all headers on")
	}
	if age := r.Now().Sub(time.Unix(seconds, 0)); age < -5*time.Minute || age > 5*time.Minute {
		return fmt.Errorf("it was signed %s ago; expected at most five minutes", age)
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Secret, "whsec_"))
	if err != nil {
		return errors.New("the secret is not `whsec_` and base64")
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, payload)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for _, entry := range strings.Fields(entries) {
		if hmac.Equal([]byte(entry), expected) {
			return nil
		}
	}
	return errors.New("no `v1` fits the payload; verify the bytes as they arrived, before any JSON parser")
}

// Finds the one key that a signature names. If the copy lacks it, fetches again, at most every two seconds.
func (r *Receiver) key(kid string) (*key, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	found := r.find(kid)
	if now := time.Now(); (found == nil || now.After(r.expires)) && now.Sub(r.fetched) > 2*time.Second {
		r.fetched = now
		if err := r.fetch(now); err != nil && found == nil {
			return nil, fmt.Errorf("%w: %v", errUnavailable, err)
		}
		found = r.find(kid)
	}
	if found == nil && r.keys == nil {
		return nil, errUnavailable
	}
	if found == nil {
		return nil, fmt.Errorf("no key has the `kid` %q", kid)
	}
	return found, nil
}

func (r *Receiver) find(kid string) *key {
	for at := range r.keys {
		if r.keys[at].Kid == kid && r.keys[at].Endpoint == "" {
			return &r.keys[at]
		}
	}
	return nil
}

func (r *Receiver) fetch(now time.Time) error {
	answer, err := client.Get(r.KeysURL)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var set struct{ Keys []key }
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the status is %d", answer.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 4<<20)).Decode(&set); err != nil {
		return err
	}
	seconds := 300
	if found := maxAge.FindStringSubmatch(answer.Header.Get("cache-control")); found != nil {
		seconds, _ = strconv.Atoi(found[1])
	}
	r.keys, r.expires = set.Keys, now.Add(time.Duration(seconds)*time.Second)
	return nil
}

func (k *key) verifies(message, signature []byte) bool {
	digest := sha256.Sum256(message)
	switch {
	case k.Kty == "RSA" && k.Alg == "RS256":
		public := rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
		return public.Size() >= 256 && rsa.VerifyPKCS1v15(&public, crypto.SHA256, digest[:], signature) == nil
	case k.Kty == "EC" && k.Alg == "ES256" && len(signature) == 64:
		public := ecdsa.PublicKey{Curve: elliptic.P256(), X: number(k.X), Y: number(k.Y)}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return public.IsOnCurve(public.X, public.Y) && ecdsa.Verify(&public, digest[:], r, s)
	case k.Kty == "OKP" && k.Alg == "EdDSA":
		public, err := base64url.DecodeString(k.X)
		return err == nil && len(public) == ed25519.PublicKeySize && ed25519.Verify(public, message, signature)
	}
	return false
}

func number(text string) *big.Int {
	bytes, _ := base64url.DecodeString(text) // Text that is not base64url is a key that verifies nothing.
	return new(big.Int).SetBytes(bytes)
}

func (r *Receiver) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, 6<<20)) // The bytes as they arrived.
	if err == nil {
		err = r.Verify(request, body)
	}
	switch {
	case errors.Is(err, errUnavailable):
		log.Print(err)
		answer.WriteHeader(http.StatusServiceUnavailable)
	case err != nil:
		log.Print("refused: ", err)
		answer.WriteHeader(http.StatusUnauthorized)
	default:
		log.Print("event ", request.Header.Get("webhook-id")) // Your work, in one transaction with the id.
		answer.WriteHeader(http.StatusNoContent)
	}
}

func main() {
	receiver := &Receiver{
		KeysURL: os.Getenv("JWKS_URL"), URL: os.Getenv("ENDPOINT_URL"), Algorithm: os.Getenv("ALGORITHM"),
		Secret: os.Getenv("SECRET"), Now: time.Now,
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
	}
	http.Handle("/in", receiver)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
