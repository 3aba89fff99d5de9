/**
 * The contract of every kind of credential: a provider says where the credential goes and, for each attempt, what to inject.
 * Invariant: the credential is injected last, after the client's own headers were stripped, so no client can remove or precede it.
 */
import type { CredentialSource } from "../../config/credential-source.ts";
import type { SecretEncoding, Template } from "../../config/template.ts";
import { GatewayError } from "../../errors.ts";
import type { InjectableRequest, RarePlaces, SignableRequest } from "./injectable-request.ts";
import type { StagedRotation } from "./staged-rotation.ts";

/** What one attempt adds to its request, ready for the wire. Everything but `headers` and `query` is empty for most credentials. */
export interface Injection {
  /** Flat list of names and values. */
  readonly headers: readonly string[];
  /** `name=value`, percent-encoded, several joined by `&`; empty for none. */
  readonly query: string;
  /** The path to insert after the base's prefix, percent-encoded, for each path template of the credential in its order. */
  readonly paths: readonly string[];
  /** `name=value` in the encoding of forms, several joined by `&`; empty for none. */
  readonly form: string;
  /** An item of Sec-WebSocket-Protocol; empty for none. */
  readonly subprotocol: string;
  /** Secrets by the text that stands for each in messages of a WebSocket: `{token}`. Undefined for a credential without this place. */
  readonly messages?: ReadonlyMap<string, string> | undefined;
  /** Adds a signature of the request, which is otherwise complete. Undefined for a credential that is a text. */
  readonly sign?: (request: SignableRequest) => void;
}

/** The text of a place around the secret: that of its first placeholder, if it has several. */
interface PlaceText {
  readonly before: string;
  readonly after: string;
  readonly encoding: SecretEncoding;
  /** All of the text, with all placeholders; `readTemplate` reads them from a value. */
  readonly template: Template;
}

/** A place that belongs to the credential: what the client put there is stripped. */
export type CredentialPlace = PlaceText &
  (
    | { readonly kind: "header" | "query" | "form" | "message" | "signature"; readonly name: string }
    | { readonly kind: "path" | "subprotocol"; readonly name: "" }
  );

/** The parts of the refusal of a service without its secret. */
export interface MissingCredential {
  readonly isRequired: boolean;
  /** Its source fails: it is not the operator who has to set it. */
  readonly isUnavailable?: boolean;
  /** Completes the sentence "github needs a credential, but …". */
  readonly message: string;
  readonly hint: string;
}

/** Another credential for the repetition of a refused request. */
export interface Repetition {
  readonly injection: Injection;
  /** Called with the status of each response to the repetition; with undefined where the request is not repeated. */
  readonly settle: (status: number | undefined) => void;
}

/** All that a credential with one secret injects. */
export interface FixedCredential {
  readonly sourceId: string;
  readonly places: readonly CredentialPlace[];
  readonly injection: Injection;
}

/** A credential with two secrets, one of which replaces the other. */
export interface StagedParts {
  readonly rotation: StagedRotation;
  readonly current: FixedCredential;
  readonly next: FixedCredential;
  /** Injects the secret of most requests: for what is no request of a caller's, and cannot be repeated. */
  readonly settled: { get(): Injection };
}

export interface CredentialProvider {
  /** Empty where the service has no credential. */
  readonly places: readonly CredentialPlace[];
  /**
   * Names the source of the credential without revealing it; requests with the same source id spend the same quota.
   * A token that is renewed keeps its source id. Undefined where nothing is injected.
   */
  readonly sourceId: string | undefined;
  /** Defined where the secret is missing. */
  readonly missing: MissingCredential | undefined;
  /** Of a pool: one of its credentials is chosen for each attempt. Undefined for a single credential. */
  readonly pool?: CredentialPool | undefined;
  /** Called once for each attempt. @throws GatewayError UPSTREAM_CREDENTIAL_UNAVAILABLE, also by rejecting. */
  get(): Injection | Promise<Injection>;
  /** Whether `get` would have to wait for the source of the secret. Undefined for a credential that never waits. */
  isPending?(): boolean;
  /**
   * Called after the upstream refused an injection with 401. Undefined for a credential that cannot be renewed.
   * @param target of the request: `POST /path`. A rotation needs it.
   * @returns undefined where there can be no other credential now. A promise resolves, and never rejects, when the renewal is over; then
   * `get` gives the new credential, or the refused one if there is no better. A repetition names the credential to use.
   */
  renew?(refused: Injection, target?: string): Promise<void> | Repetition | undefined;
  /** Obtains another credential now. Undefined for one that cannot be renewed. @returns why that failed; undefined for success. */
  refresh?(): Promise<string | undefined>;
  /** Undefined for a credential that no rotation changes. */
  readonly staged?: StagedParts;
  /**
   * Uses the token of a login from now on, when it is durable; undefined removes it. Undefined for a credential that no login gives.
   * @throws GatewayError VALIDATION_ERROR, or the store's failure.
   */
  setLogin?(login: LoginToken | undefined): Promise<void>;
  /** The secrets that masks must know now, where they change; the same array until they do. Undefined: those of the service. */
  secrets?(): readonly string[];
  /** The current secrets and states of their sources, for operators, where they change. Undefined: those of the service. */
  describe?(): CredentialSource;
  /** Called once, when no exchange uses it any more. */
  close?(): void;
}

/** What a login obtained. */
export interface LoginToken {
  readonly token: string;
  /** An access token that does not expire, instead of a refresh token. */
  readonly isAccessToken: boolean;
  /** Of an access token, as it was granted. */
  readonly scope?: string | undefined;
}

/** One credential of a pool. */
export interface PoolMember {
  /** In the list `of`. */
  readonly index: number;
  readonly sourceId: string;
  readonly provider: CredentialProvider;
  /** As it is configured. */
  readonly credential: CredentialSource;
}

/** How one exchange uses a pool. */
export interface PoolUse {
  /** For the latest attempt. */
  chosen?: PoolMember | undefined;
  /** Used as long as it can be: the request validates what is stored for it. */
  readonly pinned?: PoolMember | undefined;
}

export type PoolMemberState = "ready" | "resting" | "unavailable";

/** What is known of one credential of a pool. */
export interface MemberHistory {
  /** It rests until then, ms since the epoch. */
  restsUntil: number;
  /** With 401. */
  refusals: number;
  /** The caller whose requests it refused, as long as it refused those of no other: for these it rests until then. */
  refusedFor: { readonly voter: string; readonly until: number } | undefined;
}

export interface DescribedMember {
  readonly state: PoolMemberState;
  /** ms since the epoch; undefined unless it rests. */
  readonly restsUntil: number | undefined;
  readonly refusals: number;
}

export interface UsableLater {
  readonly member: PoolMember;
  /** ms since the epoch. */
  readonly at: number;
}

/** Kept when the pool changes, by source id. */
export interface PoolMemory {
  readonly histories: Map<string, MemberHistory>;
  /** The credential that was chosen last. */
  last: string | undefined;
  /** When the last rest for one caller only ends, ms since the epoch; one object for all changes of the pool. */
  readonly restsForOne: { until: number };
  /** Called when others may be used than before, and no time that was known is the reason. */
  onUsable: () => void;
}

/** @see RestingPool */
export interface CredentialPool {
  /** Equal for pools of the same credentials. */
  readonly id: string;
  /** At least one; each has another source id. */
  readonly members: readonly PoolMember[];
  readonly memory: PoolMemory;
  /** Without any credential, requests are refused. */
  readonly isRequired: boolean;
  /** When `usable` changes next, ms since the epoch; infinity if that is not known. */
  readonly changesAt: number;
  /** Those that may be used now, at least one, in the order in which equal ones are. @param voter the caller; empty for any. */
  usable(voter?: string): readonly PoolMember[];
  /** Whether one of them rests for this caller only. */
  restsFor(voter: string): boolean;
  noteChosen(member: PoolMember): void;
  /** The next one in the round. */
  choose(voter?: string): PoolMember;
  /** Those that rest, and when they may be used. */
  usableLater(voter?: string): readonly UsableLater[];
  /**
   * Begins to obtain those that are not there yet. @param isPatient gives this one more time. @returns a promise that resolves when one of
   * the others is there, or never.
   */
  obtainOther(than: PoolMember, voter: string, isPatient: boolean): Promise<void>;
  /**
   * The upstream refused it with 401. @param voter the caller; empty where there is only one.
   * @returns undefined where the request cannot have another credential; else it resolves when that is there.
   */
  refused(member: PoolMember, injection: Injection, voter?: string): Promise<void> | undefined;
  stateOf(member: PoolMember, voter?: string): PoolMemberState;
  /** For operators: also a rest for one caller only. */
  describe(member: PoolMember): DescribedMember;
}

/** A provider that always injects the same. */
export function createFixedProvider({ sourceId, places, injection }: FixedCredential): CredentialProvider {
  return { places, sourceId, missing: undefined, get: () => injection };
}

/** A provider that injects nothing. @param missing why, where the service should have a credential. */
export function createEmptyProvider(missing?: MissingCredential): CredentialProvider {
  return { places: [], sourceId: undefined, missing, get: () => NOTHING };
}

export const NOTHING: Injection = { headers: [], query: "", paths: [], form: "", subprotocol: "" };

/** The refusal of a service whose required credential is missing; undefined where the request may continue. */
export function decideCredential({ missing }: CredentialProvider, serviceKey: string): GatewayError | undefined {
  if (missing === undefined || !missing.isRequired) return undefined;
  if (missing.isUnavailable) return unavailableCredential(serviceKey, missing);
  return new GatewayError("UPSTREAM_CREDENTIAL_MISSING", {
    message: `${serviceKey} needs a credential, but ${missing.message} Nothing was sent.`,
    hint: `${missing.hint} Or set auth.required to false for ${serviceKey}.`,
  });
}

/** The refusal while the source of the credential fails. */
export function unavailableCredential(
  serviceKey: string,
  { message, hint }: Pick<MissingCredential, "message" | "hint">,
): GatewayError {
  return new GatewayError("UPSTREAM_CREDENTIAL_UNAVAILABLE", {
    message: `${serviceKey} needs a credential, but ${message} Nothing was sent.`,
    hint,
  });
}

/** Replaces what was injected for an earlier attempt, and everything that was added after it. */
export function inject(request: InjectableRequest, injection: Injection): void {
  const { headers, query } = injection;
  let path = request.strippedPath;
  request.headers.length = request.strippedLength;
  for (const text of headers) request.headers.push(text);
  if (request.rarePlaces !== undefined) path = injectRarely(request, request.rarePlaces, injection);
  if (query !== "") path = `${path}${path.includes("?") ? "&" : "?"}${query}`;
  request.path = path;
  injection.sign?.(request);
}

/** @returns the path with the inserted one. */
function injectRarely(request: InjectableRequest, places: RarePlaces, injection: Injection): string {
  const { pathAt, pathTemplate, form, subprotocols } = places;
  const { strippedPath } = request;
  if (form !== undefined) {
    const added = Buffer.from(injection.form, "latin1");
    request.body = form.length === 0 ? added : Buffer.concat([form, AMPERSAND, added]);
  }
  if (subprotocols !== undefined && injection.subprotocol !== "") {
    const { kept, at } = subprotocols;
    subprotocols.injected = injection.subprotocol;
    const offered = [...kept.slice(0, at), injection.subprotocol, ...kept.slice(at)];
    request.headers.push("Sec-WebSocket-Protocol", offered.join(", "));
  }
  const inserted = injection.paths[pathTemplate];
  return inserted === undefined ? strippedPath : strippedPath.slice(0, pathAt) + inserted + strippedPath.slice(pathAt);
}

const AMPERSAND = Buffer.from("&");
