/** A body that arrived in chunks, in a buffer of its own: it keeps no larger buffer of a socket in memory. */
export function joinBody(chunks: readonly Buffer[], length: number): Buffer {
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(whole, at);
  return whole;
}
