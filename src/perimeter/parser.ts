/**
 * node:http's parser with the limits of a listener, also for a request that came from no socket (the dry run).
 * Invariant: the parser drops nothing silently: a message that it cannot read is refused with the gateway's codes; and only
 * a WebSocket handshake for the data plane is an upgrade.
 */
import { createServer, IncomingMessage, type Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { duplexPair } from "node:stream";
import type { ServiceAddress } from "../config/service-addresses.ts";
import { GatewayError } from "../errors.ts";
import { HEADER_BYTES_LIMIT, isWebSocketUpgrade, methodRefused } from "./framing.ts";

/** Longest interval between two checks for unfinished heads, ms: a timeout is at most this late. */
const LONGEST_CHECK_MS = 1_000;

/** After this many ms of silence the operating system starts to probe a connection. */
const PROBE_AFTER_MS = 60_000;

/** Of the clients' sockets. */
export const SOCKET_OPTIONS = {
  // node:http ends the sending side itself.
  allowHalfOpen: true,
  noDelay: true,
  // The client of a silent stream may have disappeared without closing its connection.
  keepAlive: true,
  keepAliveInitialDelay: PROBE_AFTER_MS,
};

/** A whole line. */
const ORIGIN = /(?<=\r\n)origin:[ \t]*([^\r\n \t]+)[ \t]*(?=\r\n)/gi;

/** The paths under /proxy/ that belong to the control plane. */
const CONTROL_PATH = /^\/proxy\/(?:services|auth-test)(?:[/?]|$)/;

export interface ParserTimes {
  /** KEEP_ALIVE_TIMEOUT. */
  readonly keepAliveTimeoutMs: number;
  /** HEADERS_TIMEOUT: from the connection, or the first byte of a later request, to the end of its head. */
  readonly headersTimeoutMs: number;
}

/** What the parser has to know of a handshake, to give its socket away. */
export interface Handshakes {
  readonly isForDataPlane: (req: IncomingMessage) => boolean;
  /** Whether an earlier request of the connection has no complete response yet. */
  readonly isLate: (socket: Socket) => boolean;
}

export function createParser(
  { keepAliveTimeoutMs, headersTimeoutMs }: ParserTimes,
  serve: (req: IncomingMessage, res: ServerResponse) => void,
  handshakes: Handshakes,
): Server {
  const server = createServer(
    {
      IncomingMessage: createRequestClass(handshakes),
      keepAliveTimeout: keepAliveTimeoutMs,
      maxHeaderSize: HEADER_BYTES_LIMIT,
      headersTimeout: headersTimeoutMs,
      connectionsCheckingInterval: Math.min(Math.ceil(headersTimeoutMs / 4), LONGEST_CHECK_MS),
      // Uploads have no total limit; the exchange has its own deadline for silence within an upload.
      requestTimeout: 0,
      // Checked in findMalformed, as is the number of lines, so that the response has the gateway's form.
      requireHostHeader: false,
      ...SOCKET_OPTIONS,
    },
    serve,
  );
  // 0: never drop header lines silently.
  server.maxHeadersCount = 0;
  server.on("checkContinue", serve);
  return server;
}

/**
 * Whether the data plane serves the request, or the control plane: decided by the address that it was sent to, then by its path.
 * @param address the service's own host or port, which serves nothing else.
 */
export function isProxied(url: string, address: ServiceAddress | undefined): boolean {
  return address !== undefined || (url.startsWith("/proxy/") && !CONTROL_PATH.test(url));
}

/** A request of a listener. */
export interface ClientRequest extends IncomingMessage {
  /** Set when the data plane has it: a change of the configuration does not move a request. */
  isProxied: boolean;
}

/**
 * node:http reads `upgrade` from the request once its headers are there. By default every `Upgrade` header makes it true
 * (Java's client offers h2c with each request). For an upgrade node:http gives the socket away, so a handshake that was sent before the
 * response to an earlier request is none: it would destroy that response.
 */
function createRequestClass({ isForDataPlane, isLate }: Handshakes): typeof IncomingMessage {
  return class extends IncomingMessage implements ClientRequest {
    isProxied = false;
    /** What the parser found. */
    declare private parsedUpgrade: boolean | null;

    get upgrade(): boolean | null {
      if (this.parsedUpgrade !== true || this.method === "CONNECT") return this.parsedUpgrade;
      return isWebSocketUpgrade(this) && isForDataPlane(this) && !isLate(this.socket);
    }

    set upgrade(value: boolean | null) {
      this.parsedUpgrade = value;
    }
  };
}

/** node:http's error for a message that its parser gave up on, with the bytes that it read last. */
export type ParserError = NodeJS.ErrnoException & { readonly rawPacket?: Buffer };

/**
 * The origin of a request with too large a head, as far as the last bytes show it: a browser hides the refusal from the
 * page unless the refusal names its origin. Browsers never send any other kind of message that cannot be parsed.
 */
export function originOfOverflow({ code, rawPacket }: ParserError): string | undefined {
  if (code !== "HPE_HEADER_OVERFLOW" || rawPacket === undefined) return undefined;
  const text = rawPacket.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  const origins = [...text.slice(0, end === -1 ? undefined : end + 2).matchAll(ORIGIN)];
  return origins.length === 1 ? origins[0]?.[1] : undefined;
}

/** @param code of node:http's error. */
export function parserRefusal(code: string | undefined): GatewayError {
  if (code === "HPE_HEADER_OVERFLOW") return new GatewayError("HEADERS_TOO_LARGE");
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return new GatewayError("REQUEST_TIMEOUT");
  if (code === "HPE_INVALID_URL") return new GatewayError("INVALID_PATH");
  return new GatewayError("INVALID_REQUEST");
}

/** Text for one request line and its header lines: Latin-1 without CR and LF. */
export interface RequestHead {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Names and values. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Address of the assumed client. */
  readonly address: string;
  /** Members of the assumed socket, besides. */
  readonly socket?: object;
}

export interface ParsedRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Closes both. */
  end(): void;
}

const NO_TIMEOUTS = { keepAliveTimeoutMs: 0, headersTimeoutMs: 0 };

/** Parses a request of the data plane for the dry run, or refuses it as the listener would. It reaches no socket. */
export async function parseRequest(head: RequestHead): Promise<ParsedRequest | GatewayError> {
  const [client, server] = duplexPair();
  Object.defineProperty(server, "remoteAddress", { value: head.address });
  Object.assign(server, head.socket);
  const end = () => {
    client.destroy();
    server.destroy();
  };
  const parsed = await new Promise<ParsedRequest | GatewayError>((resolve) => {
    const onRequest = (req: IncomingMessage, res: ServerResponse) => resolve({ req, res, end });
    const parser = createParser(NO_TIMEOUTS, onRequest, { isForDataPlane: () => true, isLate: () => false });
    parser.on("checkExpectation", () => resolve(new GatewayError("EXPECTATION_FAILED")));
    parser.on("connect", () => resolve(methodRefused("CONNECT")));
    parser.on("clientError", (error: NodeJS.ErrnoException) => resolve(parserRefusal(error.code)));
    // The listener makes a response for an upgrade in the same way; here nothing is ever written to it.
    parser.on("upgrade", (req: IncomingMessage) => resolve({ req, res: new ServerResponse(req), end }));
    // In case the parser closes the socket without an event of its own.
    server.once("close", () => resolve(parserRefusal(undefined)));
    parser.emit("connection", server);
    const lines = head.headers.map(([name, value]) => `${name}: ${value}\r\n`);
    client.write(Buffer.from(`${head.method} ${head.target} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1"));
  });
  if (parsed instanceof GatewayError) end();
  return parsed;
}
