<?php
// Receives webhooks with PHP and its extensions openssl and sodium: `php -S 127.0.0.1:3000 receiver.php`.
// Verifies JWS, and `v1` of Standard Webhooks.

declare(strict_types=1);

class Refused extends Exception {}
class KeysUnavailable extends Exception {}

/** Verifies all signatures that it knows. `$headers` have names in lower case, and `$body` is the bytes as they arrived. */
function verify(array $settings, string $method, string $query, array $headers, string $body, int $now): void
{
    $payload = $method === 'GET' ? payload_of_get($settings['url'], $query) : $body;
    $has_jws = isset($headers['jws-signature']);
    $has_webhook = isset($headers['webhook-signature']) && $settings['secret'] !== '';
    if (!$has_jws && !$has_webhook) {
        throw new Refused('no signature to verify; pass all headers on');
    }
    if ($has_jws) {
        verify_jws($settings, $headers['jws-signature'], $payload);
    }
    if ($has_webhook) {
        verify_standard_webhook($settings, $headers, $payload, $now);
    }
}

/** The payload of a GET is the query after that of the endpoint's own URL. */
function payload_of_get(string $url, string $query): string
{
    $own = explode('?', $url, 2)[1] ?? '';
    $starts = $own !== '' && ($query === $own || str_starts_with($query, "$own&"));
    return $starts ? substr($query, strlen($own) + 1) : $query;
}

function verify_jws(array $settings, string $text, string $payload): void
{
    $parts = explode('.', $text);
    if (count($parts) !== 3 || $parts[1] !== '') {
        throw new Refused('`jws-signature` is not `<header>..<signature>`');
    }
    $header = json_decode((string) base64url_decode($parts[0]), true);
    $signature = base64url_decode($parts[2]);
    if (!is_array($header) || isset($header['crit']) || $signature === null) {
        throw new Refused('`jws-signature` is not base64url without padding');
    }
    $key = find_key($settings, $header['kid'] ?? null);
    $alg = $header['alg'] ?? null;
    if ($alg !== $key['alg'] || ($settings['algorithm'] !== '' && $alg !== $settings['algorithm'])) {
        throw new Refused('`alg` is not that of the endpoint');
    }
    if (!fits($key, $parts[0] . '.' . base64url_encode($payload), $signature)) {
        throw new Refused('the JWS does not fit the payload; verify php://input as it arrived, before json_decode');
    }
}

function verify_standard_webhook(array $settings, array $headers, string $payload, int $now): void
{
    $id = $headers['webhook-id'] ?? '';
    $timestamp = $headers['webhook-timestamp'] ?? '';
    if ($id === '' || !preg_match('/^[0-9]{1,15}$/D', $timestamp)) {
        throw new Refused('`webhook-id` or `webhook-timestamp` is missing; pass all headers on');
    }
    if (abs($now - (int) $timestamp) > 300) {
        throw new Refused('it was signed more than five minutes ago, or in the future');
    }
    $secret = base64_decode(preg_replace('/^whsec_/', '', $settings['secret']), true);
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$payload", $secret, true));
    foreach (explode(' ', $headers['webhook-signature']) as $entry) {
        if (hash_equals($expected, $entry)) {
            return;
        }
    }
    throw new Refused('no `v1` fits the payload; verify php://input as it arrived, before json_decode');
}

/** Finds the one key that a signature names. A key with an endpoint signs `v1a` only. */
function find_key(array $settings, mixed $kid): array
{
    foreach ([false, true] as $is_again) {
        foreach (call_user_func($settings['keys'], $is_again) as $key) {
            if ($key['kid'] === $kid && !isset($key['endpoint'])) {
                return $key;
            }
        }
    }
    throw new Refused('no key has the `kid`');
}

/** Returns the keys, from a file that all processes share. Fetches at most every two seconds, one process at a time. */
function keys(string $url, string $folder, bool $is_again): array
{
    $file = fopen("$folder/signpost-keys-" . hash('sha256', $url), 'c+');
    flock($file, LOCK_EX);
    $copy = json_decode((string) stream_get_contents($file), true) ?? ['keys' => null, 'fetched' => 0, 'expires' => 0];
    if (($is_again || time() >= $copy['expires']) && time() - $copy['fetched'] >= 2) {
        $copy['fetched'] = time();
        $context = stream_context_create(['http' => ['timeout' => 3, 'follow_location' => 0]]);
        $set = json_decode((string) @file_get_contents($url, false, $context, 0, 4 << 20), true);
        if (isset($set['keys'])) {
            $found = preg_match('/max-age=([0-9]{1,6})/i', implode("\n", $http_response_header ?? []), $match);
            $copy = ['keys' => $set['keys'], 'fetched' => time(), 'expires' => time() + ($found ? (int) $match[1] : 300)];
        }
        ftruncate($file, 0);
        rewind($file);
        fwrite($file, json_encode($copy));
    }
    fclose($file);
    return $copy['keys'] ?? throw new KeysUnavailable('the keys could not be fetched');
}

function fits(array $key, string $message, string $signature): bool
{
    if ($key['alg'] === 'EdDSA') {
        return strlen($signature) === 64 && sodium_crypto_sign_verify_detached($signature, $message, base64url_decode($key['x']));
    }
    if ($key['alg'] === 'ES256') {
        if (strlen($signature) !== 64) {
            return false;
        }
        $signature = der("\x30", integer(substr($signature, 0, 32)) . integer(substr($signature, 32)));
        $spki = hex2bin('3059301306072a8648ce3d020106082a8648ce3d03010703420004')
            . base64url_decode($key['x']) . base64url_decode($key['y']);
    } elseif ($key['alg'] === 'RS256') {
        $public = der("\x30", integer(base64url_decode($key['n'])) . integer(base64url_decode($key['e'])));
        $spki = der("\x30", hex2bin('300d06092a864886f70d0101010500') . der("\x03", "\x00$public"));
    } else {
        return false;
    }
    $pem = "-----BEGIN PUBLIC KEY-----\n" . chunk_split(base64_encode($spki), 64, "\n") . "-----END PUBLIC KEY-----\n";
    return openssl_verify($message, $signature, $pem, OPENSSL_ALGO_SHA256) === 1;
}

/** Writes a value in DER, which openssl reads. */
function der(string $tag, string $content): string
{
    $length = strlen($content);
    $bytes = ltrim(pack('N', $length), "\x00");
    return $tag . ($length < 128 ? chr($length) : chr(0x80 | strlen($bytes)) . $bytes) . $content;
}

function integer(string $bytes): string
{
    $bytes = ltrim($bytes, "\x00");
    return der("\x02", $bytes === '' || ord($bytes[0]) >= 128 ? "\x00$bytes" : $bytes);
}

function base64url_encode(string $bytes): string
{
    return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
}

function base64url_decode(string $text): ?string
{
    $bytes = base64_decode(strtr($text, '-_', '+/'), true);
    return $bytes !== false && base64url_encode($bytes) === $text ? $bytes : null;
}

if (PHP_SAPI !== 'cli') { // A web server has called.
    $url = getenv('JWKS_URL'); // The endpoint's `jwksUrl`.
    $folder = getenv('KEYS_FOLDER'); // Only your program may write there: who can, chooses the keys.
    $settings = [
        'keys' => fn (bool $is_again) => keys($url, $folder, $is_again),
        'url' => (string) getenv('ENDPOINT_URL'),
        'algorithm' => (string) getenv('ALGORITHM'), // The endpoint's `jwsAlgorithm`. If it is empty, the key's own counts.
        'secret' => (string) getenv('SECRET'),
    ];
    $headers = array_change_key_case(getallheaders());
    $body = file_get_contents('php://input'); // The bytes as they arrived.
    try {
        verify($settings, $_SERVER['REQUEST_METHOD'], $_SERVER['QUERY_STRING'] ?? '', $headers, $body, time());
        error_log('event ' . $headers['webhook-id']); // Your work, in one transaction with the id.
        http_response_code(204);
    } catch (Refused $error) {
        error_log("refused: {$error->getMessage()}");
        http_response_code(401);
    } catch (KeysUnavailable $error) {
        error_log($error->getMessage());
        http_response_code(503);
    }
}
