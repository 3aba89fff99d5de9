/** Text from outside made safe for messages and logs: characters other than visible ASCII become `?`, and long text is cut. */
export function printable(text: string, maxLength = 200): string {
  return text.replace(/[^\x21-\x7e]/g, "?").slice(0, maxLength);
}
