/**
 * The members of `auth` for type `github-app`: which installation of a GitHub App the gateway acts for, and what must fit together.
 * https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app
 */
import { z } from "zod";
import { filePath, variableName } from "./source-names.ts";

/** GitHub's limit of one request. */
const REPOSITORIES_LIMIT = 500;

const APP_ID_FORM = "the number of the app, or its client ID";
const INSTALLATION_ID_FORM = "the number of the installation";

const number = z.int().min(1);

export const githubAppMembers = {
  appId: z
    .union([number, z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, APP_ID_FORM)])
    .meta({ allowed: APP_ID_FORM })
    .optional()
    .describe("`github-app`: the app's ID, or its client ID"),
  privateKeyFile: filePath
    .optional()
    .describe("`github-app`: file that holds a private key of the app (PEM, as GitHub generates it)"),
  privateKeyEnvVar: variableName
    .optional()
    .describe(
      "`github-app`: environment variable that holds a private key of the app; `\\n` may stand for its line breaks",
    ),
  installationId: z
    .union([number, z.string().regex(/^[1-9]\d{0,19}$/, INSTALLATION_ID_FORM)])
    .meta({ allowed: INSTALLATION_ID_FORM })
    .optional()
    .describe("`github-app`: the installation's ID"),
  owner: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/, "the name of a user or an organization")
    .optional()
    .describe("`github-app`: the user or the organization that has installed the app, instead of `installationId`"),
  repositories: z
    .array(z.string().regex(/^[A-Za-z0-9._-]{1,100}$/, "the name of a repository, without its owner"))
    .min(1)
    .max(REPOSITORIES_LIMIT)
    .optional()
    .describe("`github-app`: the repositories that tokens are for; default: all of the installation"),
  permissions: z
    .record(z.string().regex(/^[a-z_]{1,64}$/, "the name of a permission"), z.enum(["read", "write", "admin"]))
    .optional()
    .describe('`github-app`: the permissions of tokens, such as `{ "contents": "read" }`; default: all of the app'),
} as const;

export const GITHUB_APP_MEMBERS = Object.keys(githubAppMembers) as (keyof typeof githubAppMembers)[];

type GithubAppAuth = z.output<z.ZodObject<typeof githubAppMembers>>;

export function checkGithubApp(auth: GithubAppAuth, refinement: z.RefinementCtx): void {
  const problem = (message: string, path: PropertyKey[] = []) => refinement.addIssue({ code: "custom", path, message });
  if (auth.appId === undefined) problem("appId for type github-app");
  if ((auth.privateKeyFile === undefined) === (auth.privateKeyEnvVar === undefined)) {
    problem("exactly one of privateKeyFile and privateKeyEnvVar");
  }
  if ((auth.installationId === undefined) === (auth.owner === undefined)) {
    problem("exactly one of installationId and owner");
  }
  if (auth.permissions !== undefined && Object.keys(auth.permissions).length === 0) {
    problem("at least one permission", ["permissions"]);
  }
}
