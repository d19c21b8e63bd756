<?php
// Runs the program over the vectors of docs/vectors.json that have its formats.

declare(strict_types=1);

require __DIR__ . '/examples/receiver.php';

set_error_handler(fn (int $level, string $message) => throw new ErrorException($message, 0, $level));
$file = json_decode(file_get_contents(__DIR__ . '/../../../docs/vectors.json'), true);
$count = 0;
$wrong = [];
foreach ($file['vectors'] as $vector) {
    $receiver = $vector['receiver'];
    $secrets = $receiver['secrets'] ?? [];
    $is_jws = $vector['format'] === 'jws' && isset($receiver['keySet']);
    if (!$is_jws && ($vector['format'] !== 'standard-webhooks' || !$secrets)) {
        continue;
    }
    $count++;
    $is_accepted = false;
    foreach ($is_jws ? [''] : $secrets as $secret) {
        $settings = [
            'keys' => fn () => $file['keySets'][$receiver['keySet']]['keys'], 'url' => $receiver['url'] ?? '',
            'algorithm' => $receiver['algorithm'] ?? '', 'secret' => $secret,
        ];
        $request = $vector['request'];
        $query = explode('?', $request['url'], 2)[1] ?? '';
        $headers = array_change_key_case(array_column($request['headers'], 1, 0));
        try {
            verify($settings, $request['method'], $query, $headers, base64_decode($request['body'], true), $vector['now']);
            $is_accepted = true;
        } catch (Refused $error) {
        }
    }
    if ($is_accepted !== $vector['expected']['accepted']) {
        $wrong[] = $vector['name'];
    }
}
foreach ($wrong as $name) {
    fwrite(STDERR, "$name: judged wrongly\n");
}
echo "$count vectors\n";
exit($wrong || $count < 60 ? 1 : 0);
