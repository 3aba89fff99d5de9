/**
 * Reads the response of a proxy to CONNECT (RFC 9110 section 9.3.6).
 * Invariant: a tunnel begins exactly after the head, and no byte that follows it is lost.
 */

/** Bytes of all heads together. */
const HEAD_LIMIT = 16_384;

/** RFC 9112 section 4. Every proxy sends this version, some 1.0. */
const STATUS_LINE = /^HTTP\/1\.[01] ([1-9]\d\d)(?: [^\x00-\x08\x0a-\x1f\x7f]*)?$/;
const FIELD_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*$/;
const FIRST = "HTTP/1.";

export type ConnectResponse =
  | "incomplete"
  | "malformed"
  | "too large"
  | {
      readonly status: number;
      readonly schemes: readonly string[];
      /** Bytes after the head: of the tunnel, or of the body of a refusal. */
      readonly rest: Buffer;
    };

/** @param bytes everything that the proxy has sent so far. */
export function readConnectResponse(bytes: Buffer): ConnectResponse {
  let rest = bytes.toString("latin1");
  while (true) {
    const end = rest.indexOf("\r\n\r\n");
    if (!rest.startsWith(FIRST.slice(0, rest.length))) return "malformed";
    if (end === -1) return bytes.length >= HEAD_LIMIT ? "too large" : "incomplete";
    if (bytes.length - rest.length + end > HEAD_LIMIT) return "too large";
    const [first = "", ...fields] = rest.slice(0, end).split("\r\n");
    const status = Number(STATUS_LINE.exec(first)?.[1]);
    if (Number.isNaN(status) || !fields.every((line) => FIELD_LINE.test(line)) || status === 101) return "malformed";
    rest = rest.slice(end + 4);
    // Interim responses come before the final one (RFC 9110 section 15.2).
    if (status < 200) continue;
    return { status, schemes: schemesOf(fields), rest: bytes.subarray(bytes.length - rest.length) };
  }
}

/** The ways to authenticate that the proxy offers, as far as they are known. */
function schemesOf(fields: readonly string[]): readonly string[] {
  const offered = fields.filter((line) => /^proxy-authenticate:/i.test(line)).join(",");
  return ["Basic", "Digest", "NTLM", "Negotiate", "Bearer"].filter((scheme) =>
    new RegExp(`[:,]\\s*${scheme}\\b`, "i").test(offered),
  );
}
