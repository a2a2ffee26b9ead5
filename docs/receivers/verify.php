<?php

// Verifies Waybill deliveries in PHP (7.4 or later), using only its standard library.
//
// As a library:  require 'verify.php';
// As a program:  php verify.php SECRET HEADERS_FILE BODY_FILE   exits with 0 if the signature fits, otherwise with 1.

declare(strict_types=1);

/** Largest difference between a delivery's timestamp and now, in seconds. */
const WAYBILL_TOLERANCE = 300;

/** Returns the key of a secret: the base64-decoded part after `whsec_`, or the bytes of any other secret. */
function waybill_key(string $secret): string
{
    $prefix = 'whsec_';
    if (strncmp($secret, $prefix, strlen($prefix)) !== 0) {
        return $secret;
    }
    $key = base64_decode(substr($secret, strlen($prefix)), true);
    if ($key === false) {
        throw new RuntimeException('the secret is not valid base64 after whsec_');
    }
    return $key;
}

/**
 * Throws an exception unless the delivery is signed with the secret and its timestamp is recent.
 *
 * @param array<string, string> $headers the request's headers, with names in lower case
 * @param string $body the raw body: file_get_contents('php://input'), before json_decode
 * @return string the delivery's id; answer an id that you have already handled with 200
 */
function waybill_verify(string $secret, array $headers, string $body, ?int $now = null): string
{
    $id = $headers['webhook-id'] ?? '';
    $timestamp = $headers['webhook-timestamp'] ?? '';
    $signatures = $headers['webhook-signature'] ?? '';
    if ($id === '' || $timestamp === '' || $signatures === '') {
        throw new RuntimeException('a webhook- header is missing');
    }
    if (!ctype_digit($timestamp) || abs(($now ?? time()) - (int) $timestamp) > WAYBILL_TOLERANCE) {
        throw new RuntimeException('the timestamp is too old, in the future, or not a number');
    }
    $expected = 'v1,' . base64_encode(
        hash_hmac('sha256', "$id.$timestamp.$body", waybill_key($secret), true)
    );
    // While a secret is rotated, the list holds two signatures. One match is enough.
    $fits = false;
    foreach (explode(' ', $signatures) as $entry) {
        $fits = hash_equals($expected, $entry) || $fits;
    }
    if (!$fits) {
        throw new RuntimeException('no signature fits');
    }
    return $id;
}

/** Returns the headers of the current request. */
function waybill_request_headers(): array
{
    $headers = [];
    foreach ($_SERVER as $name => $value) {
        if (strncmp($name, 'HTTP_', 5) === 0) {
            $headers[str_replace('_', '-', strtolower(substr($name, 5)))] = $value;
        }
    }
    return $headers;
}

/** Reads `Name: value` lines. */
function waybill_parse_headers(string $text): array
{
    $headers = [];
    foreach (preg_split('/\r?\n/', $text) as $line) {
        $parts = explode(':', $line, 2);
        if (count($parts) === 2) {
            $headers[strtolower(trim($parts[0]))] = trim($parts[1]);
        }
    }
    return $headers;
}

if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    try {
        if ($argc !== 4) {
            throw new RuntimeException('usage: php verify.php SECRET HEADERS_FILE BODY_FILE');
        }
        $headers = waybill_parse_headers(file_get_contents($argv[2]));
        echo waybill_verify($argv[1], $headers, file_get_contents($argv[3])), " fits\n";
    } catch (RuntimeException $error) {
        fwrite(STDERR, $error->getMessage() . "\n");
        exit(1);
    }
}
