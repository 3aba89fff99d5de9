/**
 * In which places of a request a definition sends each of its secrets, in a form that can be compared.
 * Invariant: two places are equal only if the upstream receives the secret in the same way: in the same header, parameter, field or
 * path, with the same text, scheme, user name and encoding around it. In another place, an upstream may echo the secret.
 */
import { entriesOf } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { definedSecrets, nameOrigin, type SecretOrigin } from "./credential-source.ts";
import { type Placement, placementsOf } from "./placements.ts";
import { NEXT } from "./rotation-state.ts";
import type { ServiceDefinition } from "./schema.ts";
import type { Placeholder } from "./template.ts";

export interface SecretUse {
  readonly places: ReadonlySet<string>;
  /** The source as it is written: another path may lead to the same file. */
  readonly spelling: string;
}

type FileOf = (path: string) => string;

/** By `sourceKey`. @param fileOf the real path. */
export function usesOfSecrets(definition: ServiceDefinition, fileOf: FileOf): Map<string, SecretUse> {
  const uses = new Map<string, SecretUse & { readonly places: Set<string> }>();
  const { auth } = definition;
  for (const entry of auth === undefined ? [] : entriesOf(auth)) addUses(uses, entry.auth, definition, fileOf);
  return uses;
}

function addUses(
  uses: Map<string, SecretUse & { readonly places: Set<string> }>,
  auth: AuthDefinition,
  definition: ServiceDefinition,
  fileOf: FileOf,
): void {
  const keys = new Map<string, string>();
  for (const { name, origin } of definedSecrets(auth)) {
    const key = sourceKey(origin, fileOf);
    keys.set(name, key);
    if (!uses.has(key)) uses.set(key, { places: new Set(), spelling: nameOrigin(origin) });
  }
  const next = keys.get(NEXT);
  for (const placement of placementsOf(auth, definition.ws)) {
    addPlaces(uses, keys, placement, describe(auth, placement, keys, definition));
    if (next === undefined) continue;
    const after = new Map([...keys, ["token", next]]);
    addPlaces(uses, after, placement, describe(auth, placement, after, definition));
  }
}

function addPlaces(
  uses: ReadonlyMap<string, { readonly places: Set<string> }>,
  keys: ReadonlyMap<string, string>,
  placement: Placement,
  places: readonly string[],
): void {
  for (const secret of secretsIn(placement)) {
    const use = uses.get(keys.get(secret) ?? "");
    for (const place of places) use?.places.add(place);
  }
}

/** Equal for two spellings of one file. */
export function sourceKey(origin: SecretOrigin, fileOf: FileOf): string {
  return origin.file === undefined ? nameOrigin(origin) : `file:${fileOf(origin.file)}`;
}

/** @param spellings of the sources by the name of the secret: the operator's paths instead of the caller's. */
export function withFiles(auth: AuthDefinition, spellings: ReadonlyMap<string, string>): AuthDefinition {
  const pathOf = (name: string, own: string) => spellings.get(name)?.replace(/^file:/, "") ?? own;
  const { tokenFile, nextTokenFile } = auth;
  if (tokenFile !== undefined || nextTokenFile !== undefined) {
    return {
      ...auth,
      ...(tokenFile === undefined ? {} : { tokenFile: pathOf("token", tokenFile) }),
      ...(nextTokenFile === undefined ? {} : { nextTokenFile: pathOf(NEXT, nextTokenFile) }),
    };
  }
  if (auth.secrets === undefined) return auth;
  const secrets = Object.entries(auth.secrets).map(([name, source]) => [
    name,
    source.file === undefined ? source : { ...source, file: pathOf(name, source.file) },
  ]);
  return { ...auth, secrets: Object.fromEntries(secrets) };
}

function secretsIn({ template }: Placement): string[] {
  return template.placeholders.flatMap(({ secret, user }) =>
    user !== undefined && "secret" in user ? [secret, user.secret] : [secret],
  );
}

/** One text; for a path one for each base URL, because the text before the secret is a part of its place. */
function describe(
  { type }: AuthDefinition,
  { kind, name, template }: Placement,
  keys: ReadonlyMap<string, string>,
  { baseUrl, versionedBaseUrls }: ServiceDefinition,
): string[] {
  const placeholders = template.placeholders.map(({ secret, encoding, user }) => [
    keys.get(secret),
    encoding,
    describeUser(user, keys),
  ]);
  const place = [type, kind, kind === "header" ? name.toLowerCase() : name, template.texts, placeholders];
  if (kind !== "path") return [JSON.stringify(place)];
  return [baseUrl, ...Object.values(versionedBaseUrls)].map((url) =>
    JSON.stringify([...place, new URL(url).pathname.replace(/\/$/, "")]),
  );
}

function describeUser(user: Placeholder["user"], keys: ReadonlyMap<string, string>): string | null {
  if (user === undefined) return null;
  return "text" in user ? `text:${user.text}` : `secret:${keys.get(user.secret)}`;
}
