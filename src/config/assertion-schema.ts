/**
 * The members of `auth` for assertions that the gateway signs (RFC 7523): the key and the claims, and what must fit together.
 * What the key file itself must be is checked when it is read.
 */
import { z } from "zod";
import { SIGNING_ALGORITHMS } from "./signing-key.ts";
import { filePath } from "./source-names.ts";

/** RFC 6749 appendix A: VSCHAR. */
const visibleText = z
  .string()
  .min(1)
  .max(2_048)
  .regex(/^[\x20-\x7e]+$/, "printable ASCII characters");

export const assertionMembers = {
  keyFile: filePath
    .optional()
    .describe(
      "`jwt_bearer`, `private_key_jwt`: file that holds the private key: PEM, a JSON Web Key, or the key file of a Google service account",
    ),
  algorithm: z
    .enum(SIGNING_ALGORITHMS)
    .optional()
    .describe("`keyFile`: the algorithm of signatures; default: the usual one of the key"),
  subject: visibleText
    .optional()
    .describe(
      "`jwt_bearer`: the user or account (`sub`) that tokens are for; default: the issuer of the assertion, and none for a Google service account",
    ),
  assertionAudience: visibleText
    .optional()
    .describe(
      "`keyFile`: the audience (`aud`) of assertions; default: the token endpoint, or the issuer of the metadata",
    ),
} as const;

interface SigningAuth {
  readonly grant?: string | undefined;
  readonly clientAuth?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly algorithm?: string | undefined;
  readonly subject?: string | undefined;
  readonly assertionAudience?: string | undefined;
}

/** Whether the gateway signs something with `keyFile`. */
export function signs({ grant, clientAuth }: SigningAuth): boolean {
  return grant === "jwt_bearer" || clientAuth === "private_key_jwt";
}

export function checkKey(auth: SigningAuth, problem: (message: string) => void): void {
  if (signs(auth) && auth.keyFile === undefined) {
    problem(`keyFile for ${auth.grant === "jwt_bearer" ? "grant jwt_bearer" : "clientAuth private_key_jwt"}`);
  }
  if (!signs(auth)) {
    for (const name of ["keyFile", "algorithm", "assertionAudience"] as const) {
      if (auth[name] !== undefined) problem(`${name} only for grant jwt_bearer and clientAuth private_key_jwt`);
    }
  }
  if (auth.subject !== undefined && auth.grant !== "jwt_bearer") problem("subject only for grant jwt_bearer");
}
