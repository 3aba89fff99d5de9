/** Credentials that sign each request: an access key of AWS, and the session token of temporary ones. */
import { secretTexts } from "../../config/credential-source.ts";
import { placementsOf } from "../../config/placements.ts";
import type { Service } from "../../config/schema.ts";
import { isObjectStore } from "../aws/canonical-request.ts";
import { createRequestSigner } from "../aws/request-signer.ts";
import { type CredentialProvider, createFixedProvider, NOTHING } from "./credential-provider.ts";
import { describePlaces } from "./fill-places.ts";

/**
 * Undefined for other types, and where a secret is missing. A new secret key or session token of the same access key is the same account.
 * @param nameSource turns a text into a name that does not reveal it.
 */
export function createAwsCredential(
  { auth, credential, http2 }: Pick<Service, "auth" | "credential" | "http2">,
  nameSource: (text: string) => string,
): CredentialProvider | undefined {
  const secrets = secretTexts(credential);
  if (auth?.type !== "aws-sigv4" || secrets === undefined) return undefined;
  const { region = "", service = "" } = auth;
  const accessKeyId = secrets.get("accessKeyId") ?? "";
  const secretAccessKey = secrets.get("secretAccessKey") ?? "";
  const sign = createRequestSigner(
    { accessKeyId, secretAccessKey, sessionToken: secrets.get("sessionToken") },
    { region, service },
    // In HTTP/2 the transport joins repeated headers itself.
    { isObjectStore: isObjectStore(service), separator: http2 ? ", " : "," },
  );
  const sourceId = nameSource(JSON.stringify([accessKeyId, region, service]));
  const places = describePlaces(placementsOf(auth));
  return createFixedProvider({ sourceId, places, injection: { ...NOTHING, sign } });
}
