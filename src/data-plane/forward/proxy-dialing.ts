/**
 * Opens one connection to an upstream through an egress proxy: TCP to the proxy, TLS if the proxy speaks it, CONNECT, then TLS to the
 * upstream inside the tunnel.
 * Invariant: the callback is called exactly once, and without a connection every socket is destroyed by then. One deadline covers
 * all steps. The proxy sees no byte of a request over TLS, and the upstream no byte of the proxy's credential.
 */
import type { Socket } from "node:net";
import type { EgressProxy } from "../../config/egress-proxy.ts";
import { readConnectResponse } from "./connect-response.ts";
import { EGRESS_NOT_ALLOWED } from "./egress-policy.ts";
import {
  badConnectResponse,
  ProxyError,
  ProxyTimeoutError,
  proxyClosed,
  proxyUnreachable,
  refusedTunnel,
} from "./proxy-error.ts";

export type SocketCallback = (error: Error | null, socket: Socket | null) => void;

export interface ProxyDialingParts {
  readonly proxy: EgressProxy;
  /** Gives the upstream's host as CONNECT names it: its name, or checked addresses, each tried in turn. */
  readonly findNames: (callback: (error: Error | null, names: readonly string[]) => void) => void;
  readonly port: number;
  /** Connects to the proxy over TCP. */
  readonly connect: (signal: AbortSignal, callback: SocketCallback) => void;
  /** Undefined for a proxy without TLS. */
  readonly secureProxy: ((socket: Socket) => Socket) | undefined;
  /** TLS to the upstream in the tunnel; undefined for an http upstream. */
  readonly secureUpstream: ((socket: Socket) => Socket) | undefined;
  /** As HTTP/2 without TLS does (RFC 9113 section 3.4). Otherwise bytes before those of the gateway were injected. */
  readonly upstreamMaySpeakFirst: boolean;
  readonly onTunnel: (() => void) | undefined;
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number;
  /** For a deadline after the proxy's part. */
  readonly createTimeout: () => Error;
  readonly callback: SocketCallback;
}

export class ProxyDialing {
  readonly #parts: ProxyDialingParts;
  #names: readonly string[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #connecting = new AbortController();
  /** The outermost socket of the current attempt. */
  #socket: Socket | undefined;
  #hasNames = false;
  #hasTunnel = false;
  #isOver = false;

  constructor(parts: ProxyDialingParts) {
    this.#parts = parts;
    this.#timer = setTimeout(this.#onTimeout, parts.timeoutMs);
    this.#timer.unref();
    parts.signal?.addEventListener("abort", this.#onAbort);
    if (parts.signal?.aborted) process.nextTick(this.#onAbort);
    else this.#start();
  }

  #start(): void {
    try {
      this.#parts.findNames((error, names) => {
        if (this.#isOver) return;
        if (error !== null) return this.#finish(error);
        this.#names = names;
        this.#hasNames = true;
        this.#tryNext();
      });
    } catch (error) {
      // A resolver may throw; dialing never does.
      process.nextTick(() => this.#finish(error as Error));
    }
  }

  readonly #onAbort = (): void => this.#finish(this.#parts.signal?.reason as Error);

  readonly #onTimeout = (): void => {
    const isProxysPart = this.#hasNames && !this.#hasTunnel;
    this.#finish(isProxysPart ? new ProxyTimeoutError(this.#parts.proxy) : this.#parts.createTimeout());
  };

  #tryNext(): void {
    const [name = "", ...others] = this.#names;
    this.#names = others;
    const { connect, secureProxy } = this.#parts;
    connect(this.#connecting.signal, (error, socket) => {
      if (this.#isOver) return void socket?.destroy();
      if (error !== null) return this.#finish(this.#explain(error));
      const tcp = socket as Socket;
      if (secureProxy === undefined) return this.#requestTunnel(tcp, name);
      this.#secure(secureProxy, tcp, {
        onReady: (secured) => this.#requestTunnel(secured, name),
        explain: (cause) => proxyUnreachable(this.#parts.proxy, cause ?? new Error("it closed the connection")),
      });
    });
  }

  /** The egress rules are no fault of the proxy. */
  #explain(error: Error): Error {
    const isExplained = error instanceof ProxyError || (error as NodeJS.ErrnoException).code === EGRESS_NOT_ALLOWED;
    return isExplained ? error : proxyUnreachable(this.#parts.proxy, error);
  }

  #requestTunnel(socket: Socket, name: string): void {
    const { proxy, port, upstreamMaySpeakFirst } = this.#parts;
    this.#socket = socket;
    let received: Buffer = Buffer.alloc(0);
    const end = (error: ProxyError) => {
      detach();
      this.#onRefusal(error);
    };
    // Not `data`: a socket that was set flowing and paused again would stay paused for its next owner.
    const onReadable = () => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        received = Buffer.concat([received, chunk]);
      }
      const response = readConnectResponse(received);
      if (response === "incomplete") return;
      if (typeof response === "string") return end(badConnectResponse(proxy, response));
      const { status, rest } = response;
      if (status >= 300) return end(refusedTunnel(proxy, response, port));
      if (rest.length > 0 && !upstreamMaySpeakFirst) return end(badConnectResponse(proxy, "bytes after the head"));
      detach();
      if (rest.length > 0) socket.unshift(rest);
      this.#onTunnel(socket);
    };
    const onGone = (cause: unknown) =>
      end(proxyClosed(proxy, "before it gave a tunnel", cause instanceof Error ? cause : undefined));
    const detach = () => {
      socket.off("readable", onReadable).off("end", onGone).off("error", onGone).off("close", onGone);
      socket.on("error", ignore);
    };
    socket.on("readable", onReadable).on("end", onGone).on("error", onGone).on("close", onGone);
    socket.write(connectHead(proxy, name, port), "latin1");
  }

  #onTunnel(socket: Socket): void {
    const { proxy, secureUpstream, onTunnel } = this.#parts;
    this.#hasTunnel = true;
    onTunnel?.();
    if (secureUpstream === undefined) return this.#finish(null, socket);
    this.#secure(secureUpstream, socket, {
      onReady: (secured) => this.#finish(null, secured),
      explain: (cause) => {
        const isClosed =
          cause === undefined || /^(ECONNRESET|EPIPE)$/.test((cause as NodeJS.ErrnoException).code ?? "");
        return isClosed ? proxyClosed(proxy, "before TLS with the upstream was complete", cause) : cause;
      },
    });
  }

  #secure(
    wrap: (socket: Socket) => Socket,
    inner: Socket,
    {
      onReady,
      explain,
    }: { readonly onReady: (secured: Socket) => void; readonly explain: (cause: Error | undefined) => Error },
  ): void {
    inner.on("error", ignore);
    let secured: Socket;
    try {
      secured = wrap(inner);
    } catch (error) {
      inner.destroy();
      return this.#finish(error as Error);
    }
    this.#socket = secured;
    const onError = (error: Error) => this.#finish(explain(error));
    const onClose = () => this.#finish(explain(undefined));
    secured.on("error", onError).once("close", onClose);
    secured.once("secureConnect", () => {
      secured.off("close", onClose);
      onReady(secured);
    });
  }

  /** Another address may be one that the proxy reaches. */
  #onRefusal(error: ProxyError): void {
    if (this.#isOver) return;
    if (!error.mayTryNext || this.#names.length === 0) return this.#finish(error);
    this.#socket?.destroy();
    this.#tryNext();
  }

  #finish(error: Error | null, socket: Socket | null = null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#parts.signal?.removeEventListener("abort", this.#onAbort);
    if (socket === null) {
      this.#connecting.abort(error);
      this.#socket?.destroy();
    }
    this.#parts.callback(error, socket);
  }
}

function ignore(): void {}

function connectHead({ credential }: EgressProxy, name: string, port: number): string {
  const authority = `${name.includes(":") ? `[${name}]` : name}:${port}`;
  const authorization =
    credential === undefined
      ? ""
      : `Proxy-Authorization: Basic ${Buffer.from(credential.reveal(), "utf8").toString("base64")}\r\n`;
  return `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nUser-Agent: ByteProxy/1\r\n${authorization}\r\n`;
}
