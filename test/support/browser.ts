/** Debian's Chromium, for pages that Samepage writes: a real browser lays them out, runs their scripts and keeps to their policy. */
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core'
import { findProgram } from './requires.ts'

export async function startBrowser(): Promise<Browser> {
  // Chromium refuses to be root in a sandbox.
  return chromium.launch({ executablePath: findProgram('chromium')!, chromiumSandbox: false })
}

export interface Opened {
  readonly page: Page
  /** Everything that was asked of the network or the disk beside the page itself, that a script threw, or that the console got. */
  readonly complaints: readonly string[]
}

/** Opens a file in a window of its own. */
export async function openPage(browser: Browser, file: string, options: BrowserContextOptions = {}): Promise<Opened> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options })
  const address = `file://${file}`
  const complaints: string[] = []
  page.on('request', (request) => {
    if (request.url() !== address) complaints.push(`asked for ${request.url()}`)
  })
  page.on('pageerror', (error) => complaints.push(`threw ${error.message}`))
  page.on('console', (message) => complaints.push(`printed ${message.text()}`))
  page.on('dialog', (dialog) => {
    complaints.push(`opened a dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  await page.goto(address)
  return { page, complaints }
}

/** The colour behind an element, as the browser computes it. */
export async function backgroundOf(element: Locator): Promise<string> {
  return element.evaluate((node) => node.ownerDocument.defaultView!.getComputedStyle(node).backgroundColor)
}
