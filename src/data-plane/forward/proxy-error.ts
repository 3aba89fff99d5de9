/**
 * Why an egress proxy gave no tunnel.
 * Invariant: the words for clients contain no address and no text of the proxy; the message, for the log, names the proxy.
 */
import type { EgressProxy } from "../../config/egress-proxy.ts";
import type { ConnectResponse } from "./connect-response.ts";

export const EGRESS_PROXY_FAILED = "EGRESS_PROXY_FAILED";
export const EGRESS_PROXY_TIMEOUT = "EGRESS_PROXY_TIMEOUT";

const AUTH_HINT =
  "Put user:password into EGRESS_PROXY, or the proxy's URL with user:password into EGRESS_PROXY_AUTH. The gateway sends Basic only.";
const REACH_HINT =
  "Check EGRESS_PROXY, or egressProxy of this service, and that the proxy runs and this machine can reach it.";
const PROXY_HINT = "Check that EGRESS_PROXY, or egressProxy of this service, names an HTTP proxy that allows CONNECT.";

export class ProxyError extends Error {
  readonly code: typeof EGRESS_PROXY_FAILED | typeof EGRESS_PROXY_TIMEOUT = EGRESS_PROXY_FAILED;
  /** Completes "<service>: …". */
  readonly words: string;
  readonly hint: string;
  /** Another address of the upstream may succeed. */
  readonly mayTryNext: boolean;

  constructor(
    { url }: Pick<EgressProxy, "url">,
    {
      words,
      hint,
      cause,
      mayTryNext = false,
    }: Pick<ProxyError, "words" | "hint"> & { cause?: Error; mayTryNext?: boolean },
  ) {
    super(`${words}: ${url}${cause === undefined ? "" : `: ${cause.message}`}`, cause === undefined ? {} : { cause });
    this.words = words;
    this.hint = hint;
    this.mayTryNext = mayTryNext;
  }
}

/** The proxy did not complete its part in time. */
export class ProxyTimeoutError extends ProxyError {
  override readonly code = EGRESS_PROXY_TIMEOUT;

  constructor(proxy: EgressProxy) {
    super(proxy, { words: "the egress proxy gave no tunnel in time", hint: REACH_HINT });
  }
}

/** @param cause of the connection to the proxy. */
export function proxyUnreachable(proxy: EgressProxy, cause: Error): ProxyError {
  const words =
    proxy.isTls && /^(ERR_SSL|ERR_TLS|CERT|UNABLE|DEPTH|SELF_SIGNED|EPROTO)/.test(codeOf(cause))
      ? "TLS with the egress proxy failed"
      : "the egress proxy could not be reached";
  return new ProxyError(proxy, { words, hint: REACH_HINT, cause });
}

export function proxyClosed(proxy: EgressProxy, when: string, cause?: Error): ProxyError {
  const words = `the egress proxy closed the connection ${when}`;
  return new ProxyError(proxy, { words, hint: PROXY_HINT, ...(cause === undefined ? {} : { cause }) });
}

export function badConnectResponse(
  proxy: EgressProxy,
  fault: Exclude<ConnectResponse, object> | "bytes after the head",
): ProxyError {
  const what = {
    incomplete: "is incomplete",
    malformed: "is not well-formed HTTP/1.1",
    "too large": "is too large",
    "bytes after the head": "is followed by bytes that the upstream cannot have sent",
  }[fault];
  return new ProxyError(proxy, { words: `the response of the egress proxy ${what}`, hint: PROXY_HINT });
}

export function refusedTunnel(
  proxy: EgressProxy,
  { status, schemes }: Extract<ConnectResponse, object>,
  port: number,
): ProxyError {
  const because = (words: string, hint: string, mayTryNext = false) =>
    new ProxyError(proxy, { words: `${words} (${status})`, hint, mayTryNext });
  if (status === 407) {
    if (schemes.length > 0 && !schemes.includes("Basic")) {
      return because(
        `the egress proxy accepts only ${schemes.join(" and ")}, which the gateway does not support`,
        AUTH_HINT,
      );
    }
    const isSent = proxy.credential !== undefined;
    return because(
      `the egress proxy ${isSent ? "refused the gateway's credential" : "demands a credential"}`,
      AUTH_HINT,
    );
  }
  if (status === 502 || status === 503 || status === 504) {
    return because(
      "the egress proxy could not reach the upstream",
      "Check baseUrl of this service, and that the proxy resolves and reaches its host.",
      true,
    );
  }
  const others = port === 443 ? "" : ` Many proxies allow CONNECT to port 443 only; this upstream has port ${port}.`;
  return because(
    "the egress proxy refused the tunnel",
    `Allow CONNECT to the upstream's host and port in the proxy.${others}`,
    status >= 500,
  );
}

const codeOf = (error: Error) => (error as NodeJS.ErrnoException).code ?? "";
