/** By which a terminal, a service manager or a user tells a program to end: Ctrl-C, kill(1) without a name, and a terminal that is closed. */
export const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
