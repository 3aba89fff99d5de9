/** Key pairs for tests, each made once for a file: an RSA key takes a tenth of a second. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export const rsaPair = (modulusLength = 2_048): KeyPair => generateKeyPairSync("rsa", { modulusLength });
export const ecPair = (namedCurve = "P-256"): KeyPair => generateKeyPairSync("ec", { namedCurve });

/** As GitHub generates keys of apps. */
export const pkcs1Of = ({ privateKey }: KeyPair) => privateKey.export({ type: "pkcs1", format: "pem" }) as string;
export const pkcs8Of = ({ privateKey }: KeyPair) => privateKey.export({ type: "pkcs8", format: "pem" }) as string;

/** As Google generates keys of service accounts, with the members that the gateway reads. */
export const serviceAccountOf = (pair: KeyPair, tokenUrl: string) =>
  JSON.stringify({
    type: "service_account",
    project_id: "the-project",
    private_key_id: "the-key-of-the-account",
    private_key: pkcs8Of(pair),
    client_email: "robot@the-project.iam.gserviceaccount.com",
    client_id: "1234567890",
    token_uri: tokenUrl,
  });

/** The pieces of a private key that nothing may show: the lines of its PEM text in its forms, and the members of its JSON Web Key. */
export function piecesOf(pair: KeyPair): string[] {
  const { privateKey } = pair;
  const pems = [pkcs8Of(pair), ...(privateKey.asymmetricKeyType === "rsa" ? [pkcs1Of(pair)] : [])];
  const lines = pems.flatMap((pem) => pem.split("\n").filter((line) => line.length === 64));
  const { d = "", p = "" } = privateKey.export({ format: "jwk" });
  return [...lines, d, ...(p === "" ? [] : [p])].map((text) => text.slice(0, 40));
}
