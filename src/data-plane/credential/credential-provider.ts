/**
 * The contract of every kind of credential: a provider says where the credential goes and, for each attempt, what to inject.
 * Invariant: the credential is injected last, after the client's own headers were stripped, so no client can remove or precede it.
 */
import { GatewayError } from "../../errors.ts";

/** What one attempt adds to its request, ready for the wire. */
export interface Injection {
  /** Flat list of names and values. */
  readonly headers: readonly string[];
  /** `name=value`, percent-encoded, several joined by `&`; empty for none. */
  readonly query: string;
}

/** A place that belongs to the credential: what the client put there is stripped. */
export interface CredentialPlace {
  readonly kind: "header" | "query";
  readonly name: string;
}

/** The parts of the refusal of a service without its secret. */
export interface MissingCredential {
  readonly isRequired: boolean;
  /** Completes the sentence "github needs a credential, but …". */
  readonly message: string;
  readonly hint: string;
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
  /** Called once for each attempt. */
  get(): Injection | Promise<Injection>;
}

/** A provider that always injects the same. */
export function createFixedProvider(
  sourceId: string,
  places: readonly CredentialPlace[],
  injection: Injection,
): CredentialProvider {
  return { places, sourceId, missing: undefined, get: () => injection };
}

/** A provider that injects nothing. @param missing why, where the service should have a credential. */
export function createEmptyProvider(missing?: MissingCredential): CredentialProvider {
  return { places: [], sourceId: undefined, missing, get: () => NOTHING };
}

const NOTHING: Injection = { headers: [], query: "" };

/** The refusal of a service whose required credential is missing; undefined where the request may continue. */
export function decideCredential({ missing }: CredentialProvider, serviceKey: string): GatewayError | undefined {
  if (missing === undefined || !missing.isRequired) return undefined;
  return new GatewayError("UPSTREAM_CREDENTIAL_MISSING", {
    message: `${serviceKey} needs a credential, but ${missing.message} Nothing was sent.`,
    hint: `${missing.hint} Or set auth.required to false for ${serviceKey}.`,
  });
}

/** A request that credentials are injected into. One object serves all attempts, so that an attempt copies nothing. */
export interface InjectableRequest {
  /** Path and query, with what was injected. */
  path: string;
  /** Flat list of names and values, with what was injected. */
  readonly headers: string[];
  /** `path` before an injection. */
  readonly strippedPath: string;
  /** Length of `headers` before an injection. */
  readonly strippedLength: number;
}

/** Replaces what was injected for an earlier attempt, and everything that was added after it. */
export function inject(request: InjectableRequest, { headers, query }: Injection): void {
  const { strippedPath } = request;
  request.headers.length = request.strippedLength;
  for (const text of headers) request.headers.push(text);
  if (query !== "") request.path = `${strippedPath}${strippedPath.includes("?") ? "&" : "?"}${query}`;
}
