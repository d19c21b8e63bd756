/** Ends a test. */
export function fail(text) {
  throw new Error(text);
}
