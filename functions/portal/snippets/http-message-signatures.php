<?php
const ALGORITHM_NAME = 'ALGORITHM';

function pem_of(string $kid): string {
    static $pems = []; // A kid never gets another key. Keep them longer, such as with APCu.
    $pems[$kid] ??= file_get_contents("KEYS_URL/keys/$kid") ?: throw new RuntimeException('not a key of this tenant');
    return $pems[$kid];
}

/** ECDSA signatures are two numbers of 32 bytes; OpenSSL wants them in DER. */
function der(string $signature): string {
    $number = function (string $bytes): string {
        $bytes = ltrim($bytes, "\0");
        if ($bytes === '' || ord($bytes[0]) > 127) $bytes = "\0$bytes";
        return "\x02" . chr(strlen($bytes)) . $bytes;
    };
    $both = $number(substr($signature, 0, 32)) . $number(substr($signature, 32));
    return "\x30" . chr(strlen($both)) . $both;
}

function fits(string $kid, string $signed, string $signature): bool {
    $pem = pem_of($kid);
    if (ALGORITHM_NAME === 'EdDSA') {
        $der = base64_decode(preg_replace('/-----[A-Z ]+-----|\\s/', '', $pem));
        return strlen($signature) === 64 && sodium_crypto_sign_verify_detached($signature, $signed, substr($der, -32));
    }
    return openssl_verify($signed, ALGORITHM_NAME === 'ES256' ? der($signature) : $signature, $pem, OPENSSL_ALGO_SHA256) === 1;
}

/** Whether it verifies. Take the URL from your settings, not from what arrives behind a proxy. */
function verify(array $headers, string $body, string $method = 'POST', string $url = 'ENDPOINT_URL'): bool {
    $names = ['RS256' => 'rsa-v1_5-sha256', 'ES256' => 'ecdsa-p256-sha256', 'EdDSA' => 'ed25519'];
    $pattern = '/^sig=(\(([^)]*)\);created=(\d+);keyid="([0-9a-f-]{36})";alg="([^"]*)";tag="signpost")$/';
    if (!preg_match($pattern, $headers['signature-input'], $match) || $match[5] !== $names[ALGORITHM_NAME]) return false;
    if (abs(time() - (int) $match[3]) > 300) return false;
    $covered = explode(' ', str_replace('"', '', $match[2]));
    if (array_diff(['@method', '@target-uri', 'content-digest', 'webhook-id'], $covered)) return false;
    $values = ['@method' => $method, '@target-uri' => $url] + $headers;
    $lines = array_map(fn (string $name): string => "\"$name\": {$values[$name]}", $covered);
    $signed = implode("\n", [...$lines, "\"@signature-params\": $match[1]"]);
    $signature = base64_decode(substr($headers['signature'], strlen('sig=:'), -1));
    return fits($match[4], $signed, $signature)
        && $headers['content-digest'] === 'sha-256=:' . base64_encode(hash('sha256', $body, true)) . ':';
}
