resource "aws_iam_openid_connect_provider" "writ" {
  url            = "https://writ.example.com"
  client_id_list = ["sts.amazonaws.com"]
}

# arn:aws:iam::210987654321:role/lake-reader
resource "aws_iam_role" "writ_lake-reader" {
  name = "lake-reader"
  path = "/"

  assume_role_policy = <<-JSON
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "WritProves",
          "Effect": "Allow",
          "Principal": {
            "Federated": "arn:aws:iam::210987654321:oidc-provider/writ.example.com"
          },
          "Action": [
            "sts:AssumeRoleWithWebIdentity",
            "sts:SetSourceIdentity",
            "sts:TagSession"
          ],
          "Condition": {
            "ForAllValues:StringLike": {
              "aws:TagKeys": "writ:*"
            },
            "StringEquals": {
              "writ.example.com:aud": "sts.amazonaws.com",
              "writ.example.com:sub": "corp:ann"
            }
          }
        }
      ]
    }
  JSON
}
