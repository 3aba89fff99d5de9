/**
 * What the holder of an issued key may do, and what it may grant to other keys.
 * Invariant: a request is allowed only as everything that the upstream may take it for; and no key that a key makes, changes
 * or rotates does more, lasts longer, works from more addresses or without its certificate, or may send more requests than the key itself.
 */
import { SHORTEST_WINDOW_MS } from "../config/token-budget.ts";
import { GatewayError } from "../errors.ts";
import { coversAddresses } from "./allowed-addresses.ts";
import type { Caller } from "./callers.ts";
import { CLIENT_CERT, isPeerCertificate, type PeerSocket } from "./client-certificate.ts";
import type { KeyRateLimit, StoredKey } from "./issued-key.ts";
import { JudgedPath } from "./judged-path.ts";
import type { FoundKey } from "./key-index.ts";
import { uncoveredModels } from "./model-patterns.ts";
import { findOverrides, type OverridableRequest } from "./overrides.ts";
import { type ManagePart, methodToJudge, requiredFor, uncoveredBy } from "./permissions.ts";

/** A path that no pattern matches: only a permission for every path allows it. */
const ANY_PATH = new JudgedPath("%");

export interface ProxyRequest extends OverridableRequest {
  readonly serviceKey: string;
  /** `WEBSOCKET` for the handshake of one. */
  readonly method: string;
  /** After the base URL, as the upstream will see it, without the query. */
  readonly path: string;
  readonly address: string;
  /** The connection, whose client certificate a key may need. */
  readonly socket?: PeerSocket;
}

export function decideProxyPermission(caller: Caller, request: ProxyRequest): GatewayError | undefined {
  const { issued } = caller;
  if (issued === undefined) return undefined;
  const senderRefusal = decideSender(caller, request.address, request.socket);
  if (senderRefusal !== undefined) return senderRefusal;
  const { serviceKey, method } = request;
  const { permissions } = issued;
  if (permissions.allowsAll(serviceKey)) return undefined;
  const path = new JudgedPath(request.path || "/");
  const decide = (asked: string, where: JudgedPath) =>
    permissions.allowsProxy(serviceKey, asked, where)
      ? undefined
      : refusePermission(requiredFor(serviceKey, asked, where));
  const refusal = decide(method, path);
  if (refusal !== undefined) return refusal;
  const overrides = findOverrides(request);
  if (overrides === undefined) return undefined;
  // Each method once, however long the list is that a client sends.
  for (const other of new Set([method, ...overrides.methods].map(methodToJudge))) {
    const found = (overrides.isForAnyPath ? decide(other, ANY_PATH) : undefined) ?? decide(other, path);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** @param parts any one of them is enough; the refusal names the first. */
export function decideManagePermission({ issued }: Caller, parts: readonly ManagePart[]): GatewayError | undefined {
  if (issued === undefined) return undefined;
  if (parts.some((part) => issued.permissions.allowsManage(part))) return undefined;
  return refusePermission(`manage:${parts[0] ?? "*"}`);
}

/** On every route: a key that is limited to addresses, or bound to a client certificate, opens nothing without them. */
export function decideSender({ issued }: Caller, address: string, socket?: PeerSocket): GatewayError | undefined {
  if (issued === undefined) return undefined;
  if (!issued.allowsAddress(address)) {
    return new GatewayError("IP_NOT_ALLOWED", { message: `The key may not be used from ${address}.` });
  }
  return issued.clientCert === undefined ? undefined : decideCertificate(issued, socket);
}

/** @returns undefined for a key that is not bound to a certificate. */
export function decideCertificate(
  { clientCert }: Pick<FoundKey, "clientCert">,
  socket?: PeerSocket,
): GatewayError | undefined {
  if (clientCert === undefined) return undefined;
  const presented = socket?.getPeerX509Certificate?.();
  if (presented !== undefined && isPeerCertificate(presented, clientCert)) return undefined;
  const has = presented === undefined ? "no certificate" : "another certificate";
  return new GatewayError("INSUFFICIENT_PERMISSIONS", {
    message: `The key is valid only with its client certificate; this connection has ${has}.`,
    hint: "Connect with the client certificate of the key, or ask the operator to change `clientCert` of the key.",
    extra: { required: CLIENT_CERT },
  });
}

type Grant = Pick<
  StoredKey,
  "permissions" | "expiresAt" | "allowIps" | "clientCert" | "rateLimit" | "budget" | "models"
>;

/** @param holder undefined for a caller that may grant everything. @param grant the key as it would be. */
export function decideGrant(holder: FoundKey | undefined, grant: Grant): GatewayError | undefined {
  if (holder === undefined) return undefined;
  const { key } = holder;
  const [lacking] = uncoveredBy(holder.permissions, grant.permissions);
  if (lacking !== undefined) return refusePermission(lacking);
  if (outlasts(grant.expiresAt, key.expiresAt)) return refuseGrant(`lasts longer than itself (until ${key.expiresAt})`);
  if (!coversAddresses(key.allowIps, grant.allowIps)) {
    return refuseGrant(`may be used from addresses other than its own (${key.allowIps.join(", ")})`);
  }
  if (holder.clientCert !== undefined && grant.clientCert !== holder.clientCert) {
    return refuseGrant("may be used without its own client certificate");
  }
  if (isLooser(grant.rateLimit, key.rateLimit)) return refuseGrant("may send more requests than itself");
  if (isLargerBudget(grant.budget, key.budget)) return refuseGrant("may spend more tokens than itself");
  const { models } = key;
  if (models && (!grant.models || uncoveredModels(models, grant.models).length > 0)) {
    return refuseGrant(`may ask for models other than its own (${models.join(", ")})`);
  }
  return undefined;
}

export function refusePermission(required: string): GatewayError {
  const message = `The key may not do this: it needs ${required}.`;
  return new GatewayError("INSUFFICIENT_PERMISSIONS", { message, extra: { required } });
}

function refuseGrant(what: string): GatewayError {
  return new GatewayError("INSUFFICIENT_PERMISSIONS", {
    message: `A key may not make one that ${what}.`,
    hint: "Ask for what the key itself may do, or use MANAGEMENT_API_KEY.",
    extra: { required: "manage:keys" },
  });
}

/** RFC 3339, or null for no end. */
function outlasts(asked: string | null, held: string | null): boolean {
  return held !== null && (asked === null || Date.parse(asked) > Date.parse(held));
}

function isLooser(asked: KeyRateLimit | null, held: KeyRateLimit | null): boolean {
  if (held === null) return false;
  if (asked === null || asked.maxRequests > held.maxRequests) return true;
  return asked.maxRequests / asked.windowMs > held.maxRequests / held.windowMs;
}

function isLargerBudget(asked: StoredKey["budget"], held: StoredKey["budget"]): boolean {
  if (!held) return false;
  if (!asked || asked.tokens > held.tokens) return true;
  return asked.tokens / SHORTEST_WINDOW_MS[asked.per] > held.tokens / SHORTEST_WINDOW_MS[held.per];
}
