import { $ } from "./dom.js";

/** The card for signing in and for creating an account. */

const TEXTS = {
    signin: { submit: "Sign in", intro: "Good to see you." },
    signup: { submit: "Create account", intro: "Pick a username that others can find you by." },
};
let mode = "signin";

const MESSAGES = {
    unauthorized: "Username and password do not match.",
    conflict: "This username is taken already.",
    rate_limited: "Too many tries. Please wait a moment.",
    network: "The server could not be reached. Please try again.",
};

function setMode(next) {
    mode = next;
    const signup = mode === "signup";
    $("to-signin").setAttribute("aria-pressed", String(!signup));
    $("to-signup").setAttribute("aria-pressed", String(signup));
    $("display-name-field").hidden = $("password-hint").hidden = !signup;
    $("password").autocomplete = signup ? "new-password" : "current-password";
    $("sign-submit").textContent = TEXTS[mode].submit;
    $("sign-intro").textContent = TEXTS[mode].intro;
    $("sign-error").textContent = "";
}

export function showSignIn(message) {
    setMode(mode);
    $("sign-error").textContent = message;
    $("sign").hidden = false;
    $("username").focus();
}

/** First field that is not filled in as it must be, with what to say; null when all is well. */
function complaint() {
    const username = $("username").value.trim();
    const password = $("password").value;
    if (!username) return [$("username"), "Please enter a username."];
    if (mode === "signup" && !/^[a-z0-9_.-]{3,32}$/i.test(username)) {
        return [$("username"), "A username has 3 to 32 letters (a to z), digits, dots, dashes or underscores."];
    }
    if (!password) return [$("password"), "Please enter a password."];
    if (mode === "signup" && [...password].length < 8) {
        return [$("password"), "The password needs at least 8 characters."];
    }
    return null;
}

export function bindSignIn(parley, signedIn) {
    $("to-signin").addEventListener("click", () => setMode("signin"));
    $("to-signup").addEventListener("click", () => setMode("signup"));
    $("sign-form").addEventListener("submit", async (submit) => {
        submit.preventDefault();
        const [field, message] = complaint() ?? [];
        $("sign-error").textContent = message ?? "";
        if (field) return field.focus();
        const username = $("username").value.trim();
        const password = $("password").value;
        const display_name = $("display-name").value.trim() || username;
        $("sign-submit").disabled = true;
        try {
            if (mode === "signup") await parley.signup({ username, password, display_name });
            else await parley.login({ username, password });
            $("sign-form").reset();
            setMode("signin");
            signedIn();
        } catch (error) {
            $("sign-error").textContent = MESSAGES[error.code] ?? error.message;
        } finally {
            $("sign-submit").disabled = false;
        }
    });
}
