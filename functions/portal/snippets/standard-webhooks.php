<?php
/** Whether it verifies. `$headers` has names in lower case, `$body` is file_get_contents('php://input'). */
function verify(array $headers, string $body): bool {
    $secret = base64_decode(substr(getenv('WEBHOOK_SECRET'), strlen('whsec_'))); // Of endpoint ENDPOINT_ID.
    $timestamp = $headers['webhook-timestamp'];
    if (abs(time() - (int) $timestamp) > 300) return false;
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "{$headers['webhook-id']}.$timestamp.$body", $secret, true));
    foreach (explode(' ', $headers['webhook-signature']) as $entry) {
        if (hash_equals($expected, $entry)) return true;
    }
    return false;
}
