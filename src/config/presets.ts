/**
 * The built-in services, in the form of a services file.
 * Invariant: every default comes from the vendor's public documentation, which is linked next to it.
 */
import type { ServiceInput } from "./schema.ts";

/** The embedded upstream. Its address is never dialled: requests go to a server in this process. */
export const ECHO_KEY = "echo";

export const PRESETS: Readonly<Record<string, ServiceInput>> = {
  [ECHO_KEY]: { name: "Echo (embedded)", baseUrl: "http://echo.localhost/" },

  discord: {
    name: "Discord API",
    // Base URL and versions, of which 9 and 10 are available: https://docs.discord.com/developers/reference#api-versioning
    baseUrl: "https://discord.com/api/v10/",
    // Clients that have the whole path, or the version, in their own base URL need to change only its origin.
    versionedBaseUrls: {
      v9: "https://discord.com/api/v9/",
      v10: "https://discord.com/api/v10/",
      api: "https://discord.com/api/",
    },
    // Requests without one of this form may be blocked: https://docs.discord.com/developers/reference#user-agent
    headers: { "User-Agent": "DiscordBot (https://www.npmjs.com/package/byteproxy, 1)" },
    // `Authorization: Bot <token>`: https://docs.discord.com/developers/reference#authentication
    auth: { type: "bot", tokenEnvVar: "DISCORD_TOKEN" },
  },

  github: {
    name: "GitHub API",
    // https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api
    baseUrl: "https://api.github.com/",
    headers: {
      Accept: "application/vnd.github+json",
      // The version that GitHub uses if the header is missing: https://docs.github.com/en/rest/about-the-rest-api/api-versions
      "X-GitHub-Api-Version": "2022-11-28",
      // Requests without one are rejected:
      // https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api#user-agent
      "User-Agent": "ByteProxy/1",
    },
    // Public data needs no token: https://docs.github.com/en/rest/authentication/authenticating-to-the-rest-api
    auth: { type: "bearer", tokenEnvVar: "GITHUB_TOKEN", required: false },
    // A 304 costs no quota: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
    cache: { revalidate: true },
    // https://docs.github.com/en/rest/orgs/orgs#get-an-organization
    pathHints: [{ match: "^/org/", message: "Invalid GitHub API path", hint: "use /orgs/ORG" }],
  },

  openai: {
    name: "OpenAI API",
    // https://platform.openai.com/docs/api-reference/introduction
    baseUrl: "https://api.openai.com/v1/",
    // A client that has the version in its own paths must not get it twice.
    versionedBaseUrls: { v1: "https://api.openai.com/v1/" },
    // https://platform.openai.com/docs/api-reference/authentication
    auth: { type: "bearer", tokenEnvVar: "OPENAI_API_KEY" },
    // The time-out of the vendor's SDKs: https://github.com/openai/openai-node#timeouts
    timeoutMs: 600_000,
  },

  anthropic: {
    name: "Anthropic API",
    // https://platform.claude.com/docs/en/api/overview
    baseUrl: "https://api.anthropic.com/",
    // Required on every request: https://platform.claude.com/docs/en/api/versioning
    headers: { "anthropic-version": "2023-06-01" },
    // https://platform.claude.com/docs/en/api/overview#authentication
    auth: { type: "api-key", headerName: "x-api-key", tokenEnvVar: "ANTHROPIC_API_KEY" },
    // The time-out of the vendor's SDKs: https://github.com/anthropics/anthropic-sdk-typescript#timeouts
    timeoutMs: 600_000,
  },
};
