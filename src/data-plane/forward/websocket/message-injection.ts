/**
 * Puts the credential into messages of a client, for APIs that take it there: the whole string at the place of the rule, if it is the
 * placeholder of a secret or the caller's own key.
 * Invariant: the secret is the current one at the time of the message, and a message is sent with it or not at all.
 */
import type { MessageRule } from "../../../config/ws-schema.ts";
import type { CredentialProvider, Injection, PoolMember } from "../../credential/credential-provider.ts";
import type { ClientMessagesParts } from "./client-messages.ts";
import { createMessageMatcher, type MessageMatch, type MessageMatcher, replaceText } from "./message-match.ts";

/** Of one service. */
export interface MessageInjector {
  /** For one WebSocket. @param isCallersKey compares a text with the key that opened it. @param member of a pool: the credential of its handshake. */
  open(isCallersKey: (text: string) => boolean, member?: PoolMember): MessageInjection;
  /** Messages of the WebSockets that are open get the secret of `next` from now on. @param next with the same rule, for the same upstream. */
  continueWith(next: MessageInjector): void;
  /** The current secrets. A failure is a rejection. @param member as for `open`; where it was removed from its pool, another one is used. */
  obtain(member?: PoolMember): Injection | Promise<Injection>;
}

/** Of one WebSocket. */
export interface MessageInjection {
  readonly replace: ClientMessagesParts["replace"];
}

type Credential = Pick<CredentialProvider, "get" | "pool">;

export function createMessageInjector(rule: MessageRule, credential: Credential): MessageInjector {
  const matcher = createMessageMatcher(rule);
  let successor: MessageInjector | undefined;
  const obtain = (member?: PoolMember) =>
    successor === undefined ? obtainFrom(memberOf(credential, member) ?? credential) : successor.obtain(member);
  return {
    open: (isCallersKey, member) => createInjection(matcher, () => obtain(member), isCallersKey),
    continueWith(next) {
      successor = next;
    },
    obtain,
  };
}

function createInjection(
  matcher: MessageMatcher,
  obtain: MessageInjector["obtain"],
  isCallersKey: (text: string) => boolean,
): MessageInjection {
  const fill = (message: Buffer, { span, text }: MessageMatch, { messages }: Injection) => {
    const secret = messages?.get(text) ?? (messages && isCallersKey(text) ? ofKey(messages) : undefined);
    return secret === undefined ? undefined : replaceText(message, span, secret);
  };
  return {
    replace(message) {
      const match = matcher.find(message);
      if (match === undefined || !(isPlaceholder(match.text) || isCallersKey(match.text))) return undefined;
      const injection = obtain();
      return injection instanceof Promise
        ? injection.then((obtained) => fill(message, match, obtained))
        : fill(message, match, injection);
    },
  };
}

function memberOf({ pool }: Credential, member: PoolMember | undefined): Credential | undefined {
  return member && pool?.members.find(({ sourceId }) => sourceId === member.sourceId)?.provider;
}

/** Rejects where `get` throws: an error must not escape into the event of a socket. */
function obtainFrom(credential: Credential): Injection | Promise<Injection> {
  try {
    return credential.get();
  } catch (error) {
    return Promise.reject(error);
  }
}

const isPlaceholder = (text: string) => text.startsWith("{") && text.endsWith("}");

/** What the caller's key stands for: the secret `token`, or the only one. With several others the caller has to name one. */
function ofKey(messages: ReadonlyMap<string, string>): string | undefined {
  return messages.get("{token}") ?? (messages.size === 1 ? [...messages.values()][0] : undefined);
}
