/** Credentials whose secrets are read with the configuration: all that is injected is computed once. */
import { type CredentialSource, identityOf, nameSources, secretTexts } from "../../config/credential-source.ts";
import { placementsOf } from "../../config/placements.ts";
import type { Service } from "../../config/schema.ts";
import {
  type CredentialProvider,
  createEmptyProvider,
  createFixedProvider,
  type FixedCredential,
  type MissingCredential,
} from "./credential-provider.ts";
import { describePlaces, fillPlaces } from "./fill-places.ts";

/**
 * Undefined where a secret is missing.
 * @param nameSource turns a secret into a name that does not reveal it. Another secret is another source, because it may
 * belong to another account of the upstream.
 */
export function readStaticCredential(
  { auth, credential, ws }: Pick<Service, "auth" | "credential" | "ws">,
  nameSource: (secret: string) => string,
): FixedCredential | undefined {
  const secrets = secretTexts(credential);
  const identity = identityOf(credential);
  if (auth === undefined || secrets === undefined || identity === undefined) return undefined;
  const placements = placementsOf(auth, ws);
  return {
    sourceId: nameSource(identity),
    places: describePlaces(placements),
    injection: fillPlaces(placements, secrets, auth.sign),
  };
}

/** @param nameSource as for `readStaticCredential`. */
export function createStaticCredential(
  service: Pick<Service, "auth" | "credential" | "ws">,
  nameSource: (secret: string) => string,
): CredentialProvider {
  const found = readStaticCredential(service, nameSource);
  if (found !== undefined) return createFixedProvider(found);
  const { auth, credential } = service;
  return createEmptyProvider(auth && { isRequired: auth.required, ...describeMissing(credential) });
}

function describeMissing(credential: CredentialSource | undefined): Pick<MissingCredential, "message" | "hint"> {
  if (credential?.withheld !== undefined) return credential.withheld;
  // A login needs the other secrets first.
  const missing = credential?.secrets.filter(({ secret, login }) => secret === undefined && !login) ?? [];
  const files = missing.filter(({ path }) => path !== undefined);
  const others = missing.filter(({ path }) => path === undefined);
  // The path of a file is for operators, who see it in /manage.
  if (missing.length === 1 && files[0]?.name === "token") {
    return {
      message: "its token file is missing or empty.",
      hint: "Put the secret into the file that `tokenFile` names.",
    };
  }
  const names = others.length > 0 ? listed(others.map(({ source }) => source)) : "its secret";
  const ofFiles = files.length === 0 ? "" : `the files of its secrets ${listed(files.map(({ name }) => name))}`;
  if (others.length === 0 && files.length > 0) {
    return {
      message: `${ofFiles} are missing or empty.`,
      hint: "Put the secrets into the files that `auth` names.",
    };
  }
  const alsoFiles = ofFiles === "" ? "" : ` Also missing or empty: ${ofFiles}.`;
  const verb = others.length > 1 ? "are" : "is";
  return {
    message: `${names} ${verb} empty or not set.${alsoFiles}`,
    hint: `Set ${names || nameSources(missing)} and restart, or put ${others.length > 1 ? "them" : "it"} into .env and reload.`,
  };
}

function listed(names: readonly string[]): string {
  return names.length < 2 ? (names[0] ?? "") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
