#!/usr/bin/env bash
# Makes the key stores of the tests again, with OpenSSL 3, the keytool of JDK 17 and Bouncy Castle. The variable BOUNCY_CASTLE
# names its jar, such as /usr/share/java/bcprov.jar of Debian's libbcprov-java. Every key changes, and no test changes.
# These keys are for tests only; nothing trusts them. The password is `changeit`, unless a line sets another one.
set -euo pipefail
cd "$(dirname "$0")"
rm -f -- *.pem *.p12 *.jks
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
forever="-days 36500"
pw=changeit

# --- An authority, one below it, and a client certificate for each kind of key ----------------------------------------
key() { # name, algorithm and options
  local name=$1
  shift
  openssl genpkey -quiet -out "$work/$name.key" -algorithm "$@"
}
issue() { # name, subject, issuer, extensions
  openssl req -new -utf8 -key "$work/$1.key" -subj "$2" -out "$work/$1.csr"
  openssl x509 -req -in "$work/$1.csr" -CA "$work/$3.crt" -CAkey "$work/$3.key" $forever -out "$work/$1.crt" \
    -extfile <(printf '%s\n' "$4") 2>/dev/null
}
authority='basicConstraints=critical,CA:TRUE'
client='extendedKeyUsage=clientAuth'
key root EC -pkeyopt ec_paramgen_curve:P-256
openssl req -x509 -key "$work/root.key" -subj '/C=BE/O=Signpost Tests/CN=Root' $forever -out "$work/root.crt"
key intermediate EC -pkeyopt ec_paramgen_curve:P-256
issue intermediate '/C=BE/O=Signpost Tests/CN=Intermediate' root "$authority"
key rsa RSA -pkeyopt rsa_keygen_bits:2048
key p256 EC -pkeyopt ec_paramgen_curve:P-256
key p384 EC -pkeyopt ec_paramgen_curve:P-384
key ed25519 ED25519
for kind in rsa p256 p384 ed25519; do
  issue $kind "/C=BE/O=Acme, Société \"A\\+B\"/CN=client $kind" intermediate "$client"
  # The expected result of Store::identity for every store of this client.
  openssl pkcs8 -topk8 -nocrypt -in "$work/$kind.key" | cat - "$work/$kind.crt" "$work/intermediate.crt" \
    >identity-$kind.pem
done
cat "$work"/{root,intermediate}.crt >"$work/authorities.pem"

# --- PEM --------------------------------------------------------------------------------------------------------------
for kind in rsa p256 p384 ed25519; do # The chain, in a wrong order.
  cat "$work"/{root,$kind}.crt "$work/$kind.key" "$work/intermediate.crt" >client-$kind.pem
done
p256() { cat - "$work/p256.crt" "$work/authorities.pem"; }
openssl rsa -traditional -in "$work/rsa.key" 2>/dev/null | cat - "$work/rsa.crt" "$work/authorities.pem" >pkcs1.pem
{
  openssl ecparam -name P-256 2>/dev/null
  openssl ec -in "$work/p256.key" 2>/dev/null
} | p256 >sec1.pem
encrypted() { openssl pkcs8 -topk8 -in "$work/p256.key" -passout "pass:$pw" "$@" | p256; }
encrypted >encrypted.pem
encrypted -v2 aes-128-cbc -v2prf hmacWithSHA1 >encrypted-aes128-sha1.pem
encrypted -v2 aes-192-cbc -v2prf hmacWithSHA512 >encrypted-aes192-sha512.pem
encrypted -v2 des3 >encrypted-3des.pem
encrypted -v1 PBE-SHA1-3DES >encrypted-pbes1.pem
encrypted -scrypt >encrypted-scrypt.pem
encrypted -iter 3000001 >encrypted-endless.pem
openssl ec -in "$work/p256.key" -aes256 -passout "pass:$pw" 2>/dev/null | p256 >encrypted-rfc1421.pem
cat "$work/p384.key" "$work/p256.crt" >mismatch.pem
openssl x509 -req -in "$work/p256.csr" -CA "$work/intermediate.crt" -CAkey "$work/intermediate.key" $forever \
  2>/dev/null | cat - "$work/p256.key" >version-1.pem
openssl x509 -req -in "$work/p256.csr" -CA "$work/root.crt" -CAkey "$work/root.key" -days 30000 \
  -extfile <(echo "$client") 2>/dev/null | p256 | cat - "$work/p256.key" >renewed.pem
key other EC -pkeyopt ec_paramgen_curve:P-256
issue other '/C=BE/O=Signpost Tests/CN=Other' intermediate "$authority"
openssl x509 -req -in "$work/intermediate.csr" -CA "$work/other.crt" -CAkey "$work/other.key" $forever \
  -extfile <(echo "$authority") 2>/dev/null | cat "$work"/p256.{key,crt} "$work/other.crt" - >crossed.pem
cat "$work"/p256.{key,crt} "$work/p384.key" >two-keys.pem
cp "$work/p256.key" no-certificate.pem
cp "$work/authorities.pem" authorities.pem
key k1 EC -pkeyopt ec_paramgen_curve:secp256k1
cat "$work/k1.key" "$work/p256.crt" >unsupported-key.pem

# --- PKCS#12 by OpenSSL: AES-256 and PBKDF2, and what it wrote before version 3 -----------------------------------------
p12() { # file, options
  local out=$1
  shift
  openssl pkcs12 -export -out "$out" -in "$work/p256.crt" -inkey "$work/p256.key" -certfile "$work/authorities.pem" \
    -passout "pass:$pw" "$@"
}
p12 openssl.p12
p12 openssl-legacy.p12 -legacy
p12 openssl-rc2-128.p12 -legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-RC2-128
p12 openssl-sha512.p12 -macalg sha512
p12 openssl-no-mac.p12 -nomac
p12 openssl-plain.p12 -keypbe NONE -certpbe NONE
p12 openssl-empty-password.p12 -passout pass:
p12 openssl-umlaut.p12 -passout pass:pässwörd€
p12 openssl-600k.p12 -iter 600000
p12 openssl-endless.p12 -iter 1200000
for kind in rsa p384 ed25519; do
  openssl pkcs12 -export -out openssl-$kind.p12 -in "$work/$kind.crt" -inkey "$work/$kind.key" \
    -certfile "$work/authorities.pem" -passout "pass:$pw"
done
openssl pkcs12 -export -nocerts -inkey "$work/p256.key" -out no-certificate.p12 -passout "pass:$pw"
openssl pkcs12 -export -nokeys -in "$work/authorities.pem" -out authorities-openssl.p12 -passout "pass:$pw"

# --- PKCS#12 and JKS by keytool -----------------------------------------------------------------------------------------
keytool() { command keytool "$@" 2>/dev/null; }
convert() { # from, to, type, options
  local from=$1 to=$2 type=$3
  shift 3
  keytool -importkeystore -noprompt -srckeystore "$from" -srcstorepass "$pw" -destkeystore "$to" -deststoretype "$type" \
    -deststorepass "$pw" "$@"
}
for kind in rsa p384 ed25519; do
  convert openssl-$kind.p12 keytool-$kind.jks JKS
done
convert openssl.p12 keytool.p12 PKCS12
convert openssl.p12 keytool-legacy.p12 PKCS12 -J-Dkeystore.pkcs12.legacy
convert openssl.p12 keytool.jks JKS
convert keytool.jks two-keys.jks JKS
convert openssl-p384.p12 two-keys.jks JKS -srcalias 1 -destalias 2
convert two-keys.jks two-keys.p12 PKCS12
for type in JKS PKCS12; do
  for name in root intermediate; do
    keytool -importcert -noprompt -alias $name -file "$work/$name.crt" -storetype $type -storepass "$pw" \
      -keystore authorities.$([ $type = JKS ] && echo jks || echo p12)
  done
done

# --- Certificates that have expired or are not valid yet --------------------------------------------------------------
dated() { # name, first day; valid for a year
  keytool -genkeypair -alias 1 -keyalg EC -groupname secp256r1 -dname "CN=$1" -startdate "$2 00:00:00" -validity 365 \
    -ext bc:c -storetype JKS -storepass "$pw" -keypass "$pw" -keystore "$1.jks"
  convert "$1.jks" "$1.p12" PKCS12
  openssl pkcs12 -in "$1.p12" -nodes -passin "pass:$pw" >"$1.pem"
  keytool -exportcert -rfc -alias 1 -keystore "$1.jks" -storepass "$pw" -file "$work/$1.crt"
}
export TZ=UTC
dated expired 2001/01/01
dated not-yet-valid 2100/01/01
cat "$work"/{expired,root}.crt >authorities-one-expired.pem
cp "$work/expired.crt" authorities-expired.pem
keytool -gencert -rfc -alias 1 -startdate '2001/01/01 00:00:00' -validity 365 -ext bc:c -infile "$work/intermediate.csr" \
  -keystore expired.jks -storepass "$pw" | cat "$work"/p256.{key,crt} - >intermediate-expired.pem

# --- Stores that keytool's library writes, but no tool ----------------------------------------------------------------
cat >"$work/Unusual.java" <<'JAVA'
import java.io.*;
import java.security.*;
import java.security.cert.Certificate;

/**
 * Puts the key of the first store beside the certificate of the second, and, with a password of its own, beside the
 * certificate of its own.
 */
class Unusual {
  public static void main(String[] args) throws Exception {
    char[] password = args[0].toCharArray();
    KeyStore one = KeyStore.getInstance(new File(args[1]), password);
    KeyStore other = KeyStore.getInstance(new File(args[2]), password);
    Key key = one.getKey("1", password);
    store("JKS", "mismatch.jks", key, password, other.getCertificate("1"), password);
    store("PKCS12", "mismatch.p12", key, password, other.getCertificate("1"), password);
    store("JKS", "key-password.jks", key, "another".toCharArray(), one.getCertificate("1"), password);
    store("PKCS12", "key-password.p12", key, "another".toCharArray(), one.getCertificate("1"), password);
  }

  static void store(String type, String file, Key key, char[] keyPassword, Certificate certificate, char[] password)
      throws Exception {
    KeyStore store = KeyStore.getInstance(type);
    store.load(null, null);
    store.setKeyEntry("1", key, keyPassword, new Certificate[] {certificate});
    try (OutputStream out = new FileOutputStream(file)) {
      store.store(out, password);
    }
  }
}
JAVA
java "$work/Unusual.java" "$pw" openssl-p384.p12 openssl.p12

# --- PKCS#12 by Bouncy Castle: BER, with indefinite lengths, and with definite ones ----------------------------------------
cat >"$work/Bouncy.java" <<'JAVA'
import java.io.*;
import java.security.*;

/** Copies stores into Bouncy Castle's. */
class Bouncy {
  public static void main(String[] args) throws Exception {
    Security.addProvider((Provider) Class.forName("org.bouncycastle.jce.provider.BouncyCastleProvider").getConstructor().newInstance());
    char[] password = args[0].toCharArray();
    copy("PKCS12", args[1], "bouncy-castle.p12", password);
    copy("PKCS12-DEF", args[1], "bouncy-castle-def.p12", password);
    copy("PKCS12-3DES-3DES", args[1], "bouncy-castle-3des.p12", password);
    copy("PKCS12", args[2], "bouncy-castle-rsa.p12", password);
    copy("PKCS12", args[3], "authorities-bouncy-castle.p12", password);
  }

  static void copy(String type, String from, String to, char[] password) throws Exception {
    KeyStore one = KeyStore.getInstance(new File(from), password);
    KeyStore other = KeyStore.getInstance(type, "BC");
    other.load(null, null);
    for (String alias : java.util.Collections.list(one.aliases())) {
      if (one.isKeyEntry(alias)) {
        other.setKeyEntry(alias, one.getKey(alias, password), null, one.getCertificateChain(alias));
      } else {
        other.setCertificateEntry(alias, one.getCertificate(alias));
      }
    }
    try (OutputStream out = new FileOutputStream(to)) {
      other.store(out, password);
    }
  }
}
JAVA
java -cp "$BOUNCY_CASTLE" "$work/Bouncy.java" "$pw" openssl.p12 openssl-rsa.p12 authorities.p12
