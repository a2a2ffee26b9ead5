//! Verifies PayPal's signatures without calling PayPal. The signature is RSA over the transmission
//! headers and a checksum of the body.
//!
//! The operator configures the certificate. The address of a certificate in the request is ignored.
//! PayPal signs only the CRC-32 of the body, so anyone who can change a request on its way can find
//! another body with the same signature. Only TLS prevents that.

use super::{WebhookRefusal, WebhookRequest, text};
use crate::model::webhook_source::proof::PayPalSettings;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Crc;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use webpki::EndEntityCert;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256;

/// PayPal's certificate, and the id of the webhook that it signs for.
pub struct PayPalCertificate {
    certificate: CertificateDer<'static>,
    webhook_id: String,
}

/// Checks the certificate of the settings. The error says what is wrong with it.
pub fn check_certificate(settings: &PayPalSettings) -> Result<(), &'static str> {
    PayPalCertificate::read(settings).map(|_| ())
}

impl PayPalCertificate {
    /// Reads the certificate of the settings. The error says what is wrong with it.
    pub fn read(settings: &PayPalSettings) -> Result<Self, &'static str> {
        let certificate = CertificateDer::from_pem_slice(settings.certificate.as_bytes());
        let certificate = certificate.map_err(|_no_pem| "is not a certificate in PEM")?;
        EndEntityCert::try_from(&certificate).map_err(|_no_x509| "is not an X.509 certificate")?;
        Ok(Self { certificate, webhook_id: settings.webhook_id.clone() })
    }

    /// Verifies a request. Returns its signature and the time when it was signed.
    pub fn verify<'h>(
        &self,
        request: &WebhookRequest<'h>,
    ) -> Result<(Vec<u8>, &'h str), WebhookRefusal> {
        let header = |name| text(request.headers, name);
        let (id, at) = (header("paypal-transmission-id")?, header("paypal-transmission-time")?);
        let name = "paypal-transmission-sig";
        let signature = BASE64_STANDARD.decode(header(name)?);
        let form = |_no_base64| WebhookRefusal::Form(name.to_owned(), "BASE64".to_owned());
        let signature = signature.map_err(form)?;
        let certificate =
            EndEntityCert::try_from(&self.certificate).map_err(|_no_x509| WebhookRefusal::Wrong)?;
        let fits = [request.body, request.plain].into_iter().any(|body| {
            let mut crc = Crc::new();
            crc.update(body);
            let message = format!("{id}|{at}|{}|{}", self.webhook_id, crc.sum());
            let algorithm = RSA_PKCS1_2048_8192_SHA256;
            certificate.verify_signature(algorithm, message.as_bytes(), &signature).is_ok()
        });
        if fits { Ok((signature, at)) } else { Err(WebhookRefusal::Wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, Method, Uri};

    /// A certificate for tests, made with openssl. Its key was deleted.
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIDOTCCAiGgAwIBAgIUP6Yr5Y20oFFFRB/ItL4qg6vQAV8wDQYJKoZIhvcNAQEL
BQAwKzEpMCcGA1UEAwwgbWVzc2FnZXZlcmlmaWNhdGlvbmNlcnRzLmV4YW1wbGUw
IBcNMjYxMTI4MjI1MjI2WhgPMjEyNjExMDQyMjUyMjZaMCsxKTAnBgNVBAMMIG1l
c3NhZ2V2ZXJpZmljYXRpb25jZXJ0cy5leGFtcGxlMIIBIjANBgkqhkiG9w0BAQEF
AAOCAQ8AMIIBCgKCAQEAlCR0j38sbuKwk4iOScxENP8uJK/fRjMWYhlXYQ1xYwRu
AbapJeOnC//Pyj1qE8juc4hPqdbRnDSNgFXBuJ8cHRqIrxDZD2c6HShmrDhDm5G/
3/nEpnTinB7dyHjHl91mM5Ct3LvyZcNbGVjW0p1tFA7cGmAKRrjICWj+sCMUeXAo
tYxSh863H5ux/Rq1p8e0gF9N0eORaKtkt02zKgubUYMxgcRBAPXwJVR8MDGNL255
jkPfhcqt7DExpSW5sFLjGzmyV0oKtDB6vLjwP8txDEXvViGfQBkXkiix9LkpB4D0
4X1A0Cg1OatzOcovT5o7MGBSIvCKN1mb1/ivcJSGLQIDAQABo1MwUTAdBgNVHQ4E
FgQU+XDFEHWMiHASYzYGjZ912JEYsIwwHwYDVR0jBBgwFoAU+XDFEHWMiHASYzYG
jZ912JEYsIwwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOCAQEAB0+Q
ZqtIldvTCqBhV3iU7rjf5nkhfnB9Cr3d7wR4DpfNsUBXln7wWXGAHB2UpXP4qLkg
OZ8GJ08d7NntvyizAGrBt7dcej8xxJCG0GRZ716MKFQJVgf6zhim+Vuv3wXrKhAY
9cvRp4Q70DcOzvxNqk1FdaeNftw51kP+cOMu1z7eINvcSBO1gbaZAg6x8KINjI+B
6uQ95pypK+kDuq/F7KGGKtnDvfL6qIc/OVBij2PQZVo2lOxBTytuDqFJSQDGJ7LV
+2fu3/TRe6qyABgya5jbz9IiFUAY5sPYB/oyjpI1hGiCp2LIUCBGMJ7I2zebQiZS
6PIjQb2L+zplyaY6TQ==
-----END CERTIFICATE-----";
    /// Made with `openssl dgst -sha256 -sign` over `t-1|2023-11-14T22:13:20Z|9XL90610J3647323C|`
    /// and the checksum.
    const SIGNATURE: &str = "NwRXxJ2Oxkpt8VnuKHTvgbD43ns2+ZRVubeT2S9tJgxO9SXN7OS+ORoTw+Cen0QaMkGr5AcRd5BABHMCvn9B0uD6ozXE0IVzOP5fz+Ka46xSUv3vBfaYeyyPIuDRacQPLcqv8EcRMMc9veZnakNWeur1dKaUI8wl92ti7QypBaHFiuaFHDpWcgbkPQNKqxDRpRKwngg7EE0m15o7qzj/FJ5HqnRm8Lbsxq8fKkyF6lK1duEUHIHbbRf7qmLxF2Y1Pj9ptH/OicpJM0ZORsatbdGdY2cl2Qj75+yU85pNz4eB6fWfICT6UNu8bYm+lBJTlrLcBQ5v5cMeiqmjUlb6Qw==";
    const BODY: &[u8] = br#"{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED"}"#;

    fn settings(webhook_id: &str) -> PayPalSettings {
        PayPalSettings { webhook_id: webhook_id.to_owned(), certificate: CERTIFICATE.to_owned() }
    }

    fn verify(webhook_id: &str, body: &[u8], time: &str) -> Result<(), WebhookRefusal> {
        let headers = [
            ("paypal-transmission-id", "t-1"),
            ("paypal-transmission-time", time),
            ("paypal-transmission-sig", SIGNATURE),
        ];
        let headers =
            headers.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let request = WebhookRequest {
            method: &Method::POST,
            uri: &Uri::from_static("/in/x"),
            headers: &HeaderMap::from_iter(headers),
            body,
            plain: body,
            address: "192.0.2.1".parse().unwrap(),
        };
        let certificate = PayPalCertificate::read(&settings(webhook_id)).unwrap();
        certificate.verify(&request).map(|(_, at)| assert_eq!(at, time))
    }

    #[test]
    fn a_transmission_is_checked_by_the_certificate() {
        let time = "2023-11-14T22:13:20Z";
        assert_eq!(verify("9XL90610J3647323C", BODY, time), Ok(()));
        assert_eq!(verify("another", BODY, time), Err(WebhookRefusal::Wrong));
        assert_eq!(verify("9XL90610J3647323C", b"{}", time), Err(WebhookRefusal::Wrong));
        assert_eq!(
            verify("9XL90610J3647323C", BODY, "2023-11-14T22:13:21Z"),
            Err(WebhookRefusal::Wrong)
        );
    }

    #[test]
    fn a_text_that_is_not_a_certificate_is_refused() {
        for certificate in
            ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let certificate = certificate.to_owned();
            assert!(
                check_certificate(&PayPalSettings { certificate, webhook_id: String::new() })
                    .is_err()
            );
        }
    }
}
