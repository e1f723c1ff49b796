import { useState } from 'preact/hooks'

import { text } from '../text.js'
import { Dialog } from '../ui/Dialog.js'
import { leave, unfinished } from '../upload/sending.js'

/** With the login goes everything that the page knows, so it is asked about what is still on its way. */
export function SignOut() {
  const [isAsking, setAsking] = useState(false)
  const count = unfinished.value
  return (
    <>
      <button type="button" onClick={() => (count > 0 ? setAsking(true) : leave())}>
        {text.signIn.out}
      </button>
      {isAsking && (
        <Dialog title={text.signIn.out} onClose={() => setAsking(false)}>
          <p>{text.signIn.stillSending(count)}</p>
          <div class="dialog-actions">
            <button type="button" onClick={() => setAsking(false)}>
              {text.back}
            </button>
            <button type="button" class="danger" onClick={leave}>
              {text.signIn.outAndCancel}
            </button>
          </div>
        </Dialog>
      )}
    </>
  )
}
