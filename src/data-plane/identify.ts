/**
 * Finds the service that a request is for, and the path and query that the upstream will see: by the address that it was sent to, or
 * by its path.
 * Invariant: raw text only, nothing is decoded or encoded; and a refusal waits until the caller is authenticated, so that an
 * anonymous client learns nothing about the configuration.
 */
import { type IsKey, maskKeySegments } from "../callers/carried-keys.ts";
import type { Permissions } from "../callers/permissions.ts";
import type { ServiceAddress } from "../config/service-addresses.ts";
import { GatewayError } from "../errors.ts";
import type { Registry } from "../services/registry.ts";
import { findOwnPath, findsPlacedKeys } from "./credential/place-plan.ts";
import { findPathProblem } from "./path-problem.ts";
import type { Base, PreparedService } from "./prepared-service.ts";

export interface Identified {
  readonly key: string;
  readonly prepared: PreparedService | undefined;
  /** Raw text after `/proxy/<key>`, or the whole path at the service's own host or port; without the query, empty where nothing follows. */
  readonly path: string;
  /** Raw text after `?`; undefined where there is none. */
  readonly query: string | undefined;
}

export interface Route {
  readonly prepared: PreparedService;
  readonly base: Base;
  /** Appended to the base's prefix; empty for the base as written. */
  readonly path: string;
  readonly query: string | undefined;
  /** The path template of the credential that the client chose by its path; undefined for the first. */
  readonly pathTemplate?: number;
}

const PLANE_LENGTH = "/proxy/".length;

/** @param url the request target, starting with `/proxy/`, or any one at the service's own address. */
export function identify(
  url: string,
  address: ServiceAddress | undefined,
  upstreams: ReadonlyMap<string, { readonly prepared: PreparedService }>,
): Identified {
  const queryAt = url.indexOf("?");
  const pathEnd = queryAt === -1 ? url.length : queryAt;
  const query = queryAt === -1 ? undefined : url.slice(queryAt + 1);
  if (address !== undefined) {
    const { key } = address;
    return { key, prepared: upstreams.get(key)?.prepared, path: url.slice(0, pathEnd), query };
  }
  const slashAt = url.indexOf("/", PLANE_LENGTH);
  const keyEnd = slashAt === -1 || slashAt > pathEnd ? pathEnd : slashAt;
  const key = url.slice(PLANE_LENGTH, keyEnd);
  return {
    key,
    prepared: upstreams.get(key)?.prepared,
    path: url.slice(keyEnd, pathEnd),
    query,
  };
}

/**
 * The route, or the refusal of an unknown service or of a path that could leave the service's base URL.
 * @param permissions of the caller's issued key: the refusal names only services that it may use.
 */
export function decideRoute(
  identified: Identified,
  registry: Registry,
  permissions?: Permissions,
): Route | GatewayError {
  const { prepared, path, query } = identified;
  if (prepared === undefined) return registry.refuseUnknown(identified.key, permissions?.allowsService);
  const route = selectBase(prepared, path, query);
  // Checked on what is appended: a version's segment is dropped, so a dot segment after it would climb out of the base.
  const problem = findPathProblem(route.path, prepared.service.pathPolicy);
  if (problem !== undefined) return new GatewayError("INVALID_PATH", { message: problem });
  return route;
}

/** The path after the segment of a version, where the service has versions. */
export function pathWithoutVersion({ prepared, path, query }: Identified): string {
  return prepared === undefined ? path : selectBase(prepared, path, query).path;
}

/** The URL as the log and errors show it: with `***` for each segment of its path that has a key of the gateway. */
export function maskKeysInUrl(url: string, isKey: IsKey): string {
  const queryAt = url.indexOf("?");
  const path = queryAt === -1 ? url : url.slice(0, queryAt);
  const masked = maskKeySegments(path, isKey);
  return masked === path ? url : masked + url.slice(path.length);
}

/** A key in the path would reach the upstream. The upstream needs every segment, so nothing is cut out. */
export function decideKeyInPath({ path, prepared }: Route, isKey: IsKey): GatewayError | undefined {
  const { placePlan } = prepared;
  if (maskKeySegments(path, placePlan === undefined ? isKey : findsPlacedKeys(placePlan, isKey)) === path)
    return undefined;
  return new GatewayError("INVALID_PATH", {
    message: "A segment of the path is a key of the gateway, which an upstream must not receive.",
    hint: "Send the key as `Authorization: Bearer <key>`, as `x-api-key: <key>` or as `?api_key=<key>`.",
  });
}

/**
 * The route without the client's own text in the place of the credential's path; undefined where the client wrote none.
 * @param isOwnKey whether a text is a key of the gateway.
 */
export function cutOwnPath(route: Route, isOwnKey: (text: string) => boolean): Route | undefined {
  const { placePlan } = route.prepared;
  const found = placePlan && findOwnPath(placePlan, route.path, isOwnKey);
  return found && { ...route, path: route.path.slice(found.length), pathTemplate: found.template };
}

/** A path that the service is known not to have. Decided after the permission: a hint is for callers of the service. */
export function decidePathHint({ prepared }: Route, path: string): GatewayError | undefined {
  const found = prepared.pathHints?.find(path);
  if (found === undefined) return undefined;
  const { message, hint } = found;
  return new GatewayError("INVALID_PATH", hint === undefined ? { message } : { message, hint });
}

function selectBase(prepared: PreparedService, path: string, query: string | undefined): Route {
  if (prepared.versionedBases.size > 0) {
    const end = endOfSegment(path, 1);
    const base = prepared.versionedBases.get(path.slice(1, end));
    if (base !== undefined) {
      // `/api/v10/users` may be `/users` of another base, with the same URL: permissions and hints then see one path for it.
      const nextEnd = endOfSegment(path, end + 1);
      const next = prepared.versionedBases.get(path.slice(end + 1, nextEnd));
      const isSame = next?.origin === base.origin && next.prefix === base.prefix + path.slice(end, nextEnd);
      return isSame
        ? { prepared, base: next, path: path.slice(nextEnd), query }
        : { prepared, base, path: path.slice(end), query };
    }
  }
  return { prepared, base: prepared.base, path, query };
}

function endOfSegment(path: string, from: number): number {
  const slash = path.indexOf("/", from);
  return slash === -1 ? path.length : slash;
}
