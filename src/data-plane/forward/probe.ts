/**
 * Probes an upstream: how far a connection gets, how long each phase takes, which certificate the upstream sends, what its clock
 * says and whether it accepts the credential.
 * Invariant: it uses what every request uses (`dial`, the service's headers, its credential) and sends one GET of the base URL.
 */
import { type IncomingMessage, request } from "node:http";
import { isIP, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { LONGEST_TIMER_MS } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import { maskBaseUrl } from "../../telemetry/redact.ts";
import { type CredentialProvider, inject } from "../credential/credential-provider.ts";
import { insertsPath } from "../credential/place-plan.ts";
import type { PreparedService } from "../prepared-service.ts";
import { credentialTooSlow } from "./credential-use.ts";
import { createDialAgent } from "./egress.ts";
import { explainFailure, probeTimeout, responseTimeout } from "./failures.ts";
import { askOverHttp2, type Http2Probe } from "./probe-http2.ts";
import { ProxyError } from "./proxy-error.ts";
import { SECTION_BYTES_LIMIT } from "./transport/section-buffer.ts";

/** Through an egress proxy, `dns` and `connect` lead to the proxy, and `proxy` is the time until it gives a tunnel. */
export type ProbePhase = "dns" | "connect" | "proxy" | "tls" | "http";

export interface ProbedCertificate {
  readonly subject: string;
  /** `DNS:api.example.com`, `IP Address:127.0.0.1` … */
  readonly names: readonly string[];
  readonly issuer: string;
  /** RFC 3339. */
  readonly validFrom: string;
  readonly validTo: string;
  /** Negative once it has expired. */
  readonly daysLeft: number;
  /** `TLSv1.3` … */
  readonly protocol: string | null;
}

export interface ProbeOutcome {
  readonly service: string;
  readonly status: "reachable" | "unreachable";
  readonly responseStatus: number | null;
  /** Of the whole probe: `12ms`. */
  readonly duration: string;
  readonly baseUrl: string;
  /** Milliseconds of each; null for a phase that does not apply or was not reached. */
  readonly phases: Readonly<Record<ProbePhase, number | null>>;
  /** Null without TLS, and where the upstream sent none. */
  readonly certificate: ProbedCertificate | null;
  /** Seconds by which the upstream's clock is ahead of the gateway's; null where the response had no Date header. */
  readonly clockDifference: number | null;
  /** The upstream's verdict: 401 and 403 are `refused`, 2xx is `accepted`. */
  readonly credential: "none" | "missing" | "accepted" | "refused" | "unknown";
  /** The phase that failed, with the code and message that a request would have received. */
  readonly phase?: ProbePhase;
  readonly code?: string;
  readonly error?: string;
  readonly troubleshooting?: readonly string[];
}

const DEFAULT_USER_AGENT = "ByteProxy/1 (probe)";

/** The end of each phase, on the clock of performance.now(), and the upstream's certificate. */
interface Progress {
  readonly startedAt: number;
  resolvedAt?: number;
  connectedAt?: number;
  tunnelAt?: number;
  securedAt?: number;
  respondedAt?: number;
  certificate?: ProbeOutcome["certificate"];
}

/** Never throws: a failure is an outcome. @param withinMs for the whole probe, where that is less than `timeoutMs`. */
export async function probe(
  prepared: PreparedService,
  withinMs: number = prepared.service.timeoutMs,
): Promise<ProbeOutcome> {
  const progress: Progress = { startedAt: performance.now() };
  const { service, credential } = prepared;
  const { baseUrl } = service;
  const known = { service: service.key, baseUrl: maskBaseUrl(baseUrl) } as const;
  try {
    const { statusCode, date } = await ask(prepared, progress, withinMs);
    progress.respondedAt = performance.now();
    return {
      ...known,
      status: "reachable",
      responseStatus: statusCode,
      ...facts(progress, baseUrl),
      clockDifference: clockDifference(date),
      credential: credential.sourceId === undefined ? stateOf(prepared) : verdictOf(statusCode, credential),
    };
  } catch (thrown) {
    const error = thrown as Error;
    const { message, hint, code } = error instanceof GatewayError ? error : explainFailure(error, service);
    return {
      ...known,
      status: "unreachable",
      responseStatus: null,
      ...facts(progress, baseUrl),
      clockDifference: null,
      credential: stateOf(prepared),
      code,
      // Without a credential no connection was tried.
      ...(code === "UPSTREAM_CREDENTIAL_UNAVAILABLE"
        ? {}
        : { phase: error instanceof ProxyError ? "proxy" : phaseOf(progress, baseUrl) }),
      error: message.replace(/ \((?:dns|connect|proxy|tls|http)\)/, ""),
      troubleshooting: [hint],
    };
  }
}

interface Response {
  readonly statusCode: number;
  readonly date: string | undefined;
}

async function ask(prepared: PreparedService, progress: Progress, withinMs: number): Promise<Response> {
  const { service, base, credential, placePlan } = prepared;
  const headers = ownHeaders(prepared);
  const hasPath = insertsPath(placePlan);
  const start = hasPath ? base.prefix : base.path;
  const rarePlaces = hasPath
    ? { pathAt: start.length, pathTemplate: 0, form: undefined, subprotocols: undefined }
    : undefined;
  const stripped = { strippedPath: start, strippedLength: headers.length };
  const wire = { method: "GET", origin: base.origin, path: start, headers, rarePlaces, body: null, ...stripped };
  const isShort = withinMs < service.timeoutMs;
  const endsAt = progress.startedAt + Math.min(withinMs, service.timeoutMs);
  const tooSlow = () => credentialTooSlow(service.key, isShort ? `${withinMs} ms` : undefined);
  inject(wire, await before(endsAt, (credential.staged?.settled ?? credential).get(), tooSlow));
  const probing = {
    path: wire.path,
    headers,
    onSocket: (socket: Socket) => follow(socket, progress),
    onTunnel: () => {
      progress.tunnelAt = performance.now();
    },
    withinMs: endsAt - performance.now(),
    createTimeout: () => (isShort ? probeTimeout(service.key, withinMs) : responseTimeout(service)),
  };
  if (!service.http2) return askOverHttp1(prepared, probing);
  const response = await askOverHttp2(prepared, probing);
  const { date } = response.headers;
  return { statusCode: response.status, date: typeof date === "string" ? date : undefined };
}

/** @param endsAt on the clock of performance.now(). @throws what `createError` gives, after that time. */
async function before<T>(endsAt: number, pending: T | Promise<T>, createError: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(createError()), Math.min(endsAt - performance.now(), LONGEST_TIMER_MS));
  });
  return Promise.race([pending, over]).finally(() => clearTimeout(timer));
}

function askOverHttp1(
  { service, base, dial }: PreparedService,
  { path, headers, onSocket, onTunnel, withinMs, createTimeout }: Http2Probe,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const connecting = new AbortController();
    const agent = createDialAgent(dial, base.origin, { onSocket, onTunnel, signal: connecting.signal });
    const sent = ["Host", new URL(base.origin).host, "Connection", "close", ...headers];
    const options = { agent, method: "GET", path, headers: sent, setHost: false, maxHeaderSize: SECTION_BYTES_LIMIT };
    const probing = request(options);
    // Rejects by itself, because a request without a socket reports its end only when it gets one.
    const timer = setTimeout(() => {
      const error = createTimeout();
      reject(error);
      probing.destroy(error);
      connecting.abort(error);
    }, withinMs);
    probing.on("error", reject);
    probing.on("response", (response: IncomingMessage) => {
      resolve({ statusCode: response.statusCode ?? 0, date: response.headers.date });
      response.destroy();
    });
    probing.on("upgrade", (_, socket) => {
      socket.destroy();
      reject(
        new GatewayError("UPSTREAM_PROTOCOL_ERROR", {
          message: `${service.key}: it switched protocols without being asked (http).`,
        }),
      );
    });
    probing.on("close", () => {
      clearTimeout(timer);
      agent.destroy();
      reject(new GatewayError("UPSTREAM_PROTOCOL_ERROR"));
    });
    probing.end();
  });
}

/** Flat list of names and values. */
function ownHeaders({ service }: PreparedService): string[] {
  const own = { "User-Agent": DEFAULT_USER_AGENT, Accept: "*/*", ...service.headers, ...service.setHeaders };
  const byName = new Map(Object.entries(own).map(([name, value]) => [name.toLowerCase(), [name, value]]));
  return [...byName.values()].flat();
}

function follow(socket: Socket, progress: Progress): void {
  socket.on("lookup", (error: Error | null) => {
    if (error === null) progress.resolvedAt = performance.now();
  });
  socket.once("connect", () => {
    progress.connectedAt = performance.now();
  });
  if (!(socket instanceof TLSSocket)) return;
  // Before it is judged: of one that is refused the reason is in it.
  socket.prependOnceListener("secure", () => {
    progress.certificate = readCertificate(socket);
  });
  socket.once("secureConnect", () => {
    progress.securedAt = performance.now();
    progress.certificate = readCertificate(socket);
  });
}

/** The phase that did not come to its end. */
function phaseOf({ resolvedAt, connectedAt, securedAt }: Progress, baseUrl: string): ProbePhase {
  const { hostname, protocol } = new URL(baseUrl);
  const isName = isIP(hostname.replace(/^\[(.*)\]$/, "$1")) === 0;
  if (isName && resolvedAt === undefined && connectedAt === undefined) return "dns";
  if (connectedAt === undefined) return "connect";
  return protocol === "https:" && securedAt === undefined ? "tls" : "http";
}

function facts(progress: Progress, baseUrl: string) {
  const { startedAt, resolvedAt, connectedAt, tunnelAt, securedAt, respondedAt, certificate } = progress;
  const between = (from: number | undefined, to: number | undefined) =>
    from === undefined || to === undefined ? null : Number((to - from).toFixed(1));
  const isTls = baseUrl.toLowerCase().startsWith("https:");
  return {
    duration: `${Math.round((respondedAt ?? performance.now()) - startedAt)}ms`,
    phases: {
      dns: between(startedAt, resolvedAt),
      connect: between(resolvedAt ?? startedAt, connectedAt),
      proxy: between(connectedAt, tunnelAt),
      tls: isTls ? between(tunnelAt ?? connectedAt, securedAt) : null,
      http: between(securedAt ?? tunnelAt ?? connectedAt ?? startedAt, respondedAt),
    },
    certificate: certificate ?? null,
  };
}

/** s; positive when the upstream's clock is ahead. The field has whole seconds, cut off (RFC 9110 section 6.6.1). */
function clockDifference(date: string | undefined): number | null {
  const theirs = date === undefined ? Number.NaN : Date.parse(date);
  return Number.isNaN(theirs) ? null : Math.trunc((theirs + 500 - Date.now()) / 1000);
}

function verdictOf(status: number, { places }: CredentialProvider): ProbeOutcome["credential"] {
  // The probe has no form and no WebSocket.
  if (places.every(({ kind }) => kind === "form" || kind === "subprotocol" || kind === "message")) return "unknown";
  // Many APIs respond 403 to everyone at their base, where they have no route: only requests show whether it is the credential.
  if (status === 401) return "refused";
  return status >= 200 && status < 300 ? "accepted" : "unknown";
}

function stateOf({ credential }: PreparedService): ProbeOutcome["credential"] {
  if (credential.missing !== undefined) return "missing";
  return credential.sourceId === undefined ? "none" : "unknown";
}

const DAY_MS = 86_400_000;

/** Undefined where none was shown. */
function readCertificate(socket: TLSSocket): ProbedCertificate | undefined {
  const certificate = socket.getPeerCertificate();
  if (certificate === null || certificate.valid_to === undefined) return undefined;
  const { subject, issuer, valid_from, valid_to, subjectaltname } = certificate;
  return {
    subject: nameOf(subject),
    names: (subjectaltname ?? "").split(", ").filter((name) => name !== ""),
    issuer: nameOf(issuer),
    validFrom: new Date(valid_from).toISOString(),
    validTo: new Date(valid_to).toISOString(),
    daysLeft: Math.floor((Date.parse(valid_to) - Date.now()) / DAY_MS),
    protocol: socket.getProtocol(),
  };
}

function nameOf(name: { readonly CN?: string | string[]; readonly O?: string | string[] } | undefined): string {
  return [name?.CN, name?.O].flat().filter(Boolean).join(", ");
}
