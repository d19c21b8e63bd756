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

/** Whether it verifies. `$headers` has names in lower case, `$body` is file_get_contents('php://input'). */
function verify(array $headers, string $body): bool {
    [$first, $middle, $last] = explode('.', $headers['jws-signature']) + ['', '', ''];
    $url_decoded = fn (string $text): string => base64_decode(strtr($text, '-_', '+/'));
    $pattern = '/^\{"alg":"ALGORITHM","kid":"([0-9a-f-]{36})","typ":"JWT"\}$/';
    if ($middle !== '' || !preg_match($pattern, $url_decoded($first), $match)) return false;
    $payload = rtrim(strtr(base64_encode($body), '+/', '-_'), '=');
    return fits($match[1], "$first.$payload", $url_decoded($last));
}
